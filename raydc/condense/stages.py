"""Stages: the same pictures at another resolution.

Source: FADRM, arXiv 2506.24125, ``recover/recover.py``: bilinear; the start is always taken at its full resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def resized(x: torch.Tensor, size: int) -> torch.Tensor:
    """Pictures ``[B, C, H, W]`` at ``size`` x ``size``; the very same where they have that size."""
    if tuple(x.shape[2:]) == (size, size):
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=False)
