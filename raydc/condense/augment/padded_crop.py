"""Padded crop: a window of the original size, anywhere in the image with a border around it.

Formula: torchvision's RandomCrop(size, padding=pad): zeros on every side, then a window at (top, left), each uniform in
0..2 pad. Zero is zero of the block's normalised space, so the border has the mean colour of the data, not black.
Source: G-VBSM, arXiv 2311.17950, ``Branch_Tiny_ImageNet/recover`` and ``Branch_CIFAR_*/recover``, on the normalised
batch tensor: one window for all images of the step.
Defaults: pad 4 (CIFAR; Tiny-ImageNet 8), shared, as there.
Not for: large images, where a few pixels say little; there the sources use ``resized_crop``.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from raydc.config.axes.augment import PaddedCrop
from raydc.keys import Key


def draw(config: PaddedCrop, key: Key, count: int, size: tuple[int, int], step: int, steps: int) -> np.ndarray:
    """Draw int64 rows ``[count or 1, 3]``: pad, and the window's top and left in the padded image."""
    corners = key.integers(0, 2 * config.pad + 1, 1 if config.shared else count, 2)
    return np.insert(corners, 0, config.pad, axis=1)


def lines(windows: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The same as matrices over rows ``[count or 1, H, H]`` and columns ``[count or 1, W, W]``; the border is 0."""
    rows, columns = (
        np.stack([np.eye(n, k=int(at), dtype=np.float32) for at in windows[:, 1 + axis] - windows[:, 0]])
        for axis, n in enumerate(size)
    )
    return rows, columns


def apply(x: torch.Tensor, windows: np.ndarray) -> torch.Tensor:
    """Cut windows of ``[B, C, H, W]``, all images by one row or each by its own."""
    height, width = x.shape[2:]
    padded = F.pad(x, [int(windows[0, 0])] * 4)
    pieces = padded.split(1) if len(windows) > 1 else [padded]
    corners = windows[:, 1:].tolist()
    return torch.cat(
        [p[..., top : top + height, left : left + width] for p, (top, left) in zip(pieces, corners, strict=True)]
    )
