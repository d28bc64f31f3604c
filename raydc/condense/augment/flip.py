"""Flip: a horizontal mirror image with probability p.

Source: SRe2L ``recover/data_synthesis.py`` (RandomHorizontalFlip on the batch tensor: one coin for all images).
Defaults: p 0.5, shared, as there.
Not for: classes that differ from their mirror image (digits, letters, traffic signs).
"""

from __future__ import annotations

import numpy as np
import torch

from raydc.config.axes.augment import Flip
from raydc.keys import Key


def draw(config: Flip, key: Key, count: int, size: tuple[int, int], step: int, steps: int) -> np.ndarray:
    """Draw booleans ``[count or 1]``: mirror or not."""
    return key.uniform(1 if config.shared else count) < config.p


def lines(mirrored: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The same as matrices over rows ``[1, H, H]`` and columns ``[count or 1, W, W]``."""
    plain = np.eye(size[1], dtype=np.float32)
    return np.eye(size[0], dtype=np.float32)[None], np.where(mirrored[:, None, None], plain[::-1], plain)


def apply(x: torch.Tensor, mirrored: np.ndarray) -> torch.Tensor:
    """Mirror ``[B, C, H, W]``, all images by one coin or each by its own."""
    if len(mirrored) == 1:
        return x.flip(-1) if mirrored[0] else x
    return torch.where(torch.from_numpy(mirrored).to(x.device).view(-1, 1, 1, 1), x.flip(-1), x)
