"""Resized crop: the step looks at a random part, enlarged to the whole.

Formula: torchvision's RandomResizedCrop: up to 10 proposals of area U(min_scale, 1) and log-uniform ratio, the first
that fits; else the whole image; then bilinear enlargement.
Source: SRe2L ``recover/data_synthesis.py`` (one draw for the whole batch, scale from 0.08); CDA, arXiv 2311.18838,
``recover_cda_in1k.py`` (min_scale annealed from 1 to 0.08 by a cosine over all steps).
Defaults: min_scale 0.08, ratio (3/4, 4/3), shared, as there. ``shared: false`` draws for each image, which changes the
batch statistics and so the method.
Not for: images where position is meaning (SRe2L on CIFAR uses no crop).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from raydc.condense.schedule import anneal
from raydc.config.axes.augment import ResizedCrop
from raydc.keys import Key
from raydc.labels.views import resized_crop_boxes


def draw(config: ResizedCrop, key: Key, count: int, size: tuple[int, int], step: int, steps: int) -> np.ndarray:
    """Draw int64 boxes ``[count or 1, 4]`` (top, left, height, width) in pixels of an image of ``size`` (H, W)."""
    least = anneal(config.min_scale, step, steps)
    return resized_crop_boxes(key, 1 if config.shared else count, size[0], size[1], least, 1.0, config.ratio)


def lines(boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The same as matrices over rows ``[count or 1, H, H]`` and columns ``[count or 1, W, W]``."""
    rows, columns = (
        np.stack([_enlarging(int(box[axis]), int(box[2 + axis]), n) for box in boxes]) for axis, n in enumerate(size)
    )
    return rows, columns


def _enlarging(start: int, length: int, side: int) -> np.ndarray:
    """Bilinear, half-pixel centres, nothing beyond the crop: ``[side, side]``."""
    at = np.clip((np.arange(side) + 0.5) * (length / side) - 0.5, 0.0, length - 1.0)
    low = at.astype(np.int64)
    high, share = np.minimum(low + 1, length - 1), at - low
    found, out = np.zeros((side, side)), np.arange(side)
    np.add.at(found, (out, start + low), 1.0 - share)
    np.add.at(found, (out, start + high), share)
    return found.astype(np.float32)


def apply(x: torch.Tensor, boxes: np.ndarray) -> torch.Tensor:
    """Crop ``[B, C, H, W]`` by one box, or each image by its own, and enlarge to ``[B, C, H, W]``."""
    pieces = x.split(1) if len(boxes) > 1 else [x]
    return torch.cat([_crop(piece, *map(int, box)) for piece, box in zip(pieces, boxes, strict=True)])


def _crop(x: torch.Tensor, top: int, left: int, height: int, width: int) -> torch.Tensor:
    size = x.shape[-2:]
    if (height, width) == tuple(size):
        return x
    return F.interpolate(
        x[..., top : top + height, left : left + width], size=size, mode="bilinear", align_corners=False
    )
