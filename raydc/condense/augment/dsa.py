"""Differentiable siamese augmentation: one of several operations a step, the same one for every image.

Formula, with u uniform in [0, 1) drawn anew each time, on normalised values: color, three in a row: x + (u - .5)
brightness; (x - mean over channels) u saturation + that mean; (x - mean of the image) (u + contrast) + that mean. crop:
shifted by whole pixels in +-int(crop side + .5), zeros moving in. cutout: a square of side int(cutout side + .5) about
a uniform centre set to zero, less where it leaves the image. flip: with probability ``flip``. scale: affine grid with
sx, sy in [1/scale, scale]. rotate: affine grid turned by +-``rotate`` degrees. Grids: bilinear, zeros outside, corners
not aligned. Zero is the mean colour of the data.
Source: DSA, arXiv 2102.08259, VICO-UoE/DatasetCondensation ``utils.py`` (``DiffAugment``, mode S, siamese).
Defaults: all ops (``color_crop_cutout_flip_scale_rotate``; drop flip for digits), numbers of ``ParamDiffAug`` there.
Not for: blocks whose images should each be seen otherwise; every draw is shared.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from raydc.condense.moments import wide
from raydc.config.axes.augment import Dsa
from raydc.keys import Key

Record = tuple[str, list[Any]]


def draw(config: Dsa, key: Key, count: int, size: tuple[int, int], step: int, steps: int) -> Record:
    """Draw the name of an operation and its numbers."""
    op = config.ops[int(key.child("op").integers(0, len(config.ops)))]
    u = key.child(op).uniform(3)
    match op:
        case "color":
            return op, [(u[0] - 0.5) * config.brightness, u[1] * config.saturation, u[2] + config.contrast]
        case "crop":
            reach = [int(config.crop * side + 0.5) for side in size]
            return op, [math.floor(v * (2 * r + 1)) - r for v, r in zip(u[:2], reach, strict=True)]
        case "cutout":
            return op, _square(config.cutout, u, size)
        case "flip":
            return op, [bool(u[0] < config.flip)]
        case "scale":
            return op, [1.0 / config.scale + v * (config.scale - 1.0 / config.scale) for v in u[:2]]
    return op, [(2.0 * u[0] - 1.0) * math.radians(config.rotate)]


def _square(share: float, u: np.ndarray, size: tuple[int, int]) -> list[int]:
    """Top, bottom, left, right of the part of the square that is inside; its centre may be the far edge if even."""
    bounds: list[int] = []
    for v, side in zip(u[:2], size, strict=True):
        length = int(share * side + 0.5)
        low = math.floor(v * (side + 1 - length % 2)) - length // 2
        bounds += [max(0, low), min(side, low + length)]
    return bounds


def apply(x: torch.Tensor, record: Record) -> torch.Tensor:
    """Apply the operation to all of ``[B, C, H, W]``."""
    op, n = record
    match op:
        case "color":
            return _color(x, *n)
        case "crop":
            return _shifted(x, *n)
        case "cutout":
            mask = torch.ones(x.shape[2:], dtype=x.dtype)
            mask[n[0] : n[1], n[2] : n[3]] = 0
            return x * mask.to(x.device)
        case "flip":
            return x.flip(-1) if n[0] else x
        case "scale":
            return _warped(x, [[n[0], 0.0, 0.0], [0.0, n[1], 0.0]])
    cos, sin = math.cos(n[0]), math.sin(n[0])
    return _warped(x, [[cos, -sin, 0.0], [sin, cos, 0.0]])


def _color(x: torch.Tensor, brightness: float, saturation: float, contrast: float) -> torch.Tensor:
    x = x + brightness
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * saturation + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * contrast + mean


def _shifted(x: torch.Tensor, down: int, right: int) -> torch.Tensor:
    height, width = x.shape[2:]
    reach = max(abs(down), abs(right))
    padded = F.pad(x, [reach] * 4)
    return padded[..., reach + down : reach + down + height, reach + right : reach + right + width]


def _warped(x: torch.Tensor, theta: list[list[float]]) -> torch.Tensor:
    wider = wide(x)  # the places of a grid need more than eight bits
    every = torch.tensor(theta, dtype=wider.dtype, device=x.device).expand(len(x), 2, 3)
    grid = F.affine_grid(every, list(x.shape), align_corners=False)
    return F.grid_sample(wider, grid, mode="bilinear", padding_mode="zeros", align_corners=False).to(x.dtype)
