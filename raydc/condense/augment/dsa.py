"""Differentiable siamese augmentation: one of several operations a step, the same one for every image.

Formula, with u uniform in [0, 1) drawn anew each time, on normalised values: color, three in a row: x + (u - .5)
brightness; (x - mean over channels) u saturation + that mean; (x - mean of the image) (u + contrast) + that mean. crop:
shifted by whole pixels in +-int(crop side + .5), zeros moving in. cutout: a square of side int(cutout side + .5) about
a uniform centre set to zero, less where it leaves the image. flip: with probability ``flip``. scale: affine grid with
sx, sy in [1/scale, scale]. rotate: affine grid turned by +-``rotate`` degrees. Grids: bilinear, zeros outside, corners
not aligned. Zero is the mean colour of the data.
Source: DSA, arXiv 2102.08259, VICO-UoE/DatasetCondensation ``utils.py`` (``DiffAugment``, mode S, siamese).
Defaults: all ops (``color_crop_cutout_flip_scale_rotate``; drop flip for digits), numbers of ``ParamDiffAug`` there.
Not for: blocks whose images should each be seen otherwise; every draw is shared. Students see each image otherwise.
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

Record = tuple[str, Any]


def draw(config: Dsa, key: Key, count: int, size: tuple[int, int], step: int, steps: int) -> Record:
    """Draw the name of an operation and its numbers."""
    op = config.ops[int(key.child("op").integers(0, len(config.ops)))]
    return op, _numbers(config, op, key.child(op).uniform(3), size)


def draw_each(config: Dsa, key: Key, count: int, size: tuple[int, int]) -> Record:
    """Draw the name of an operation, and numbers of its own for each image: float32 ``[count, n]``.

    What students are trained with (``DiffAugment`` there without a seed): one operation a batch, not siamese.
    """
    op = config.ops[int(key.child("op").integers(0, len(config.ops)))]
    rows = [_numbers(config, op, u, size) for u in key.child(op).uniform(count, 3)]
    return op, np.asarray(rows, np.float32)


def _numbers(config: Dsa, op: str, u: np.ndarray, size: tuple[int, int]) -> list[Any]:
    """The numbers of an operation from three uniform ones."""
    match op:
        case "color":
            return [(u[0] - 0.5) * config.brightness, u[1] * config.saturation, u[2] + config.contrast]
        case "crop":
            reach = [int(config.crop * side + 0.5) for side in size]
            return [math.floor(v * (2 * r + 1)) - r for v, r in zip(u[:2], reach, strict=True)]
        case "cutout":
            return _square(config.cutout, u, size)
        case "flip":
            return [bool(u[0] < config.flip)]
        case "scale":
            return [1.0 / config.scale + v * (config.scale - 1.0 / config.scale) for v in u[:2]]
    return [(2.0 * u[0] - 1.0) * math.radians(config.rotate)]


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
            return _warped(x, _theta([n[0], 0.0, 0.0, n[1]]))
    cos, sin = math.cos(n[0]), math.sin(n[0])
    return _warped(x, _theta([cos, -sin, sin, cos]))


def apply_each(x: torch.Tensor, record: Record) -> torch.Tensor:
    """Apply the operation to each of ``[B, C, H, W]`` with its own row of :func:`draw_each`."""
    op, rows = record
    n = torch.from_numpy(rows).to(x.device).T
    match op:
        case "color":
            return _color(x, *n[:, :, None, None, None])
        case "crop":
            return _shifted_each(x, n.long())
        case "cutout":
            down, right = (torch.arange(side, device=x.device)[None] for side in x.shape[2:])
            top, bottom, left, near = n[:, :, None]
            inside = ((down >= top) & (down < bottom))[:, :, None] & ((right >= left) & (right < near))[:, None, :]
            return x * ~inside[:, None]
        case "flip":
            return torch.where(n[0].bool()[:, None, None, None], x.flip(-1), x)
        case "scale":
            none = torch.zeros_like(n[0])
            return _warped(x, torch.stack([n[0], none, none, none, n[1], none], 1).view(-1, 2, 3))
    cos, sin, none = n[0].cos(), n[0].sin(), torch.zeros_like(n[0])
    return _warped(x, torch.stack([cos, -sin, none, sin, cos, none], 1).view(-1, 2, 3))


def _shifted_each(x: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    height, width = x.shape[2:]
    reach = int(shifts.abs().max())
    windows = F.pad(x, [reach] * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(x), device=x.device), :, shifts[0] + reach, shifts[1] + reach]


def _theta(turn: list[float]) -> torch.Tensor:
    """The affine map of all images, ``[1, 2, 3]``, from its four numbers."""
    return torch.tensor([[[turn[0], turn[1], 0.0], [turn[2], turn[3], 0.0]]], dtype=torch.float64)


def _color(x: torch.Tensor, brightness: Any, saturation: Any, contrast: Any) -> torch.Tensor:
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


def _warped(x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Sample at places given by ``[1 or B, 2, 3]``."""
    wider = wide(x)  # the places of a grid need more than eight bits
    every = theta.to(dtype=wider.dtype, device=x.device).expand(len(x), 2, 3)
    grid = F.affine_grid(every, list(x.shape), align_corners=False)
    return F.grid_sample(wider, grid, mode="bilinear", padding_mode="zeros", align_corners=False).to(x.dtype)
