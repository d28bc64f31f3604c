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


def lines(orders: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The same as matrices over rows ``[count or 1, H, H]`` and columns ``[count or 1, W, W]``."""
    columns, rows = (
        np.stack([np.eye(n, dtype=np.float32)[_places(n, order)] for order in orders[:, axis].tolist()])
        for axis, n in enumerate(size[::-1])
    )
    return rows, columns


def _places(side: int, order: list[int]) -> np.ndarray:
    """Where each line comes from."""
    return np.concatenate([np.array_split(np.arange(side), _cuts(side, len(order)))[n] for n in order])


def _cuts(side: int, count: int) -> list[int]:
    return [side // count * n for n in range(1, count)]


def apply(x: torch.Tensor, orders: np.ndarray) -> torch.Tensor:
    """Permute the strips of ``[B, C, H, W]``, of all images by one row or of each by its own."""
    pieces = x.split(1) if len(orders) > 1 else [x]
    shuffled = []
    for piece, (columns, rows) in zip(pieces, orders.tolist(), strict=True):
        shuffled.append(_permuted(_permuted(piece, columns, 3), rows, 2))
    return torch.cat(shuffled)


def _permuted(x: torch.Tensor, order: list[int], dim: int) -> torch.Tensor:
    strips = x.tensor_split(_cuts(x.shape[dim], len(order)), dim)
    return torch.cat([strips[n] for n in order], dim)
