"""A pick: what is taken of a real image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Pick:
    """A box of a real image, and what the scoring teacher thought of it."""

    image: int
    """Its number in its class, in canonical order."""
    top: int
    left: int
    height: int
    width: int
    score: float


def resized(image: torch.Tensor, box: tuple[int, int, int, int], side: int) -> torch.Tensor:
    """Crop uint8 ``[3, H, W]`` to (top, left, height, width) and resize: float32 ``[3, side, side]`` in [0, 1].

    Torchvision's ``resized_crop`` on a float tensor: bilinear, with its antialiasing filter where it shrinks.
    """
    top, left, height, width = box
    crop = image[None, :, top : top + height, left : left + width].float() / 255.0
    if (height, width) == (side, side):
        return crop[0]
    return F.interpolate(crop, size=(side, side), mode="bilinear", align_corners=False, antialias=True)[0]
