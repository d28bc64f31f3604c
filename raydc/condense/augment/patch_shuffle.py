"""Patch shuffle: the cells of a grid in another order.

Formula: ``factor`` vertical strips of W // factor columns (the last takes what is left over) are permuted, then as many
horizontal strips. With factor 2 that reaches 4 of the 24 orders of the cells.
Source: RDED, arXiv 2312.03526, ``validation/utils.py`` (``ShufflePatches``; there for the student, a draw for each
image). EDC's version permutes a list and then joins the other one, which changes nothing (specification, 3.3 item 9);
this one shuffles.
Defaults: factor 2 (ImageNet; RDED uses 1, no shuffle, at 32 and 64 pixels). ``shared`` true, ours, as the other
augmentations of a step.
Not for: pictures that are one object; it suits mosaics of ``factor`` x ``factor`` real crops.
"""

from __future__ import annotations

import numpy as np
import torch

from raydc.config.axes.augment import PatchShuffle
from raydc.keys import Key


def draw(config: PatchShuffle, key: Key, count: int, size: tuple[int, int], step: int, steps: int) -> np.ndarray:
    """Draw int64 ``[count or 1, 2, factor]``: the strip that comes to each place, left to right, then top to bottom."""
    each = 1 if config.shared else count
    orders = [key.child(image, side).permutation(config.factor) for image in range(each) for side in ("w", "h")]
    return np.stack(orders).reshape(each, 2, config.factor)


def apply(x: torch.Tensor, orders: np.ndarray) -> torch.Tensor:
    """Permute the strips of ``[B, C, H, W]``, of all images by one row or of each by its own."""
    pieces = x.split(1) if len(orders) > 1 else [x]
    shuffled = []
    for piece, (columns, rows) in zip(pieces, orders.tolist(), strict=True):
        shuffled.append(_permuted(_permuted(piece, columns, 3), rows, 2))
    return torch.cat(shuffled)


def _permuted(x: torch.Tensor, order: list[int], dim: int) -> torch.Tensor:
    side, count = x.shape[dim], len(order)
    sizes = [side // count] * (count - 1) + [side - side // count * (count - 1)]
    strips = x.split(sizes, dim)
    return torch.cat([strips[n] for n in order], dim)
