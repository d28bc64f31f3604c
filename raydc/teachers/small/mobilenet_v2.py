"""MobileNetV2 for small pictures: inverted residuals, four halvings instead of five (Sandler et al. 2018).

The stem halves once, and stages three, four and six halve again: 32x32 ends at 2x2. Widths are multiplied by ``width``
and rounded down; the last 1x1 convolution keeps 1,280 channels. 812,836 parameters with 100 classes at width 0.5.

Defaults: width 0.5, expansion 6, plain ReLU: the half-width network of G-VBSM's and EDC's pools for CIFAR and
Tiny-ImageNet (``models/mobilenetv2.py``), which is also their "MobileNetV2" student there.

Not for: the published ImageNet network; that is torchvision's.
"""

from __future__ import annotations

import torch
from torch import nn

from raydc.teachers.small.weights import he_normal

STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels at width 1, blocks, stride of the first of them."""
LAST = 1280


def _layer(inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size but for its stride, with BatchNorm."""
    conv = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outer)]


class Inverted(nn.Module):
    """Widen by 1x1, filter each channel by 3x3, narrow by 1x1; added to its input where shapes agree."""

    def __init__(self, inner: int, outer: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inner * expansion
        self.body = nn.Sequential(
            *_layer(inner, wide, 1), nn.ReLU(), *_layer(wide, wide, 3, stride, wide), nn.ReLU(), *_layer(wide, outer, 1)
        )
        self.adds = stride == 1 and inner == outer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, inner, H, W]`` to ``[B, outer, H / stride, W / stride]``."""
        return x + self.body(x) if self.adds else self.body(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 for pictures of 16 to 64 pixels, of any ``image_size``."""

    def __init__(self, classes: int, image_size: int, width: float = 0.5) -> None:
        super().__init__()
        inner = int(32 * width)
        layers: list[nn.Module] = [*_layer(3, inner, 3, 2), nn.ReLU()]
        for expansion, channels, blocks, stride in STAGES:
            outer = int(channels * width)
            for j in range(blocks):
                layers.append(Inverted(inner, outer, stride if j == 0 else 1, expansion))
                inner = outer
        self.features = nn.Sequential(*layers, *_layer(inner, LAST, 1), nn.ReLU())
        self.head = nn.Linear(LAST, classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, 3, H, W]`` to logits ``[B, classes]``."""
        return self.head(self.features(x).mean((2, 3)))
