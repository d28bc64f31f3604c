"""Roll: a circular shift by two independent integers, shared by all images of the step ("jitter" in the references).

Source: SRe2L ``recover/data_synthesis.py``: ``torch.roll`` over (H, W) after crop and flip.
Defaults: offsets 0..32 inclusive at 224 (``recover/recover.sh``); -4..4 for Tiny-ImageNet, 0..4 for CIFAR-100
(``recover_tiny.py``, ``recover_cifar.sh``).
Not for: images where a wrapped border is seen by the teacher as an edge; keep offsets small against the size.
"""

from __future__ import annotations

import numpy as np
import torch

from raydc.config.axes.augment import Roll
from raydc.keys import Key


def draw(config: Roll, key: Key, count: int, size: tuple[int, int], step: int, steps: int) -> np.ndarray:
    """Draw two int64 offsets (down, right)."""
    return key.integers(config.min_offset, config.max_offset + 1, 2)


def lines(offsets: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The same as matrices over rows ``[1, H, H]`` and columns ``[1, W, W]``."""
    rows, columns = (np.roll(np.eye(n, dtype=np.float32), by, 0) for n, by in zip(size, offsets.tolist(), strict=True))
    return rows[None], columns[None]


def apply(x: torch.Tensor, offsets: np.ndarray) -> torch.Tensor:
    """Shift ``[B, C, H, W]`` circularly."""
    return torch.roll(x, shifts=(int(offsets[0]), int(offsets[1])), dims=(2, 3))
