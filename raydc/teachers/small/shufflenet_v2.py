"""ShuffleNetV2 for small pictures: half the channels pass, the others are filtered, then they mix (Ma et al. 2018).

The stem is a 1x1 convolution of stride 1 and there is no max-pool: the three stages halve, 32x32 ends at 4x4.
1,355,528 parameters with 100 classes at width 1.

Defaults: width 0.5, the ``ShuffleNetV2_0_5`` of G-VBSM's and EDC's pools for CIFAR and Tiny-ImageNet
(``models/ShuffleNetv2.py``).

Not for: the published ImageNet network; that is torchvision's.
"""

from __future__ import annotations

import torch
from torch import nn

from raydc.teachers.small.weights import he_normal

CHANNELS: dict[float, tuple[int, int, int]] = {0.5: (48, 96, 192), 1.0: (116, 232, 464), 1.5: (176, 352, 704)}
"""``width`` to the channels of the three stages, after the paper's table 5."""
BLOCKS = (4, 8, 4)
STEM, LAST = 24, 1024


def _pointwise(inner: int, outer: int) -> list[nn.Module]:
    return [nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()]


def _depthwise(width: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False), nn.BatchNorm2d(width)]


class Unit(nn.Module):
    """One half of the channels filtered; with stride 2 both branches see all of them and halve the picture."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        half = outer // 2
        self.halves = stride == 1
        seen = half if self.halves else inner
        self.kept = nn.Sequential() if self.halves else nn.Sequential(*_depthwise(inner, 2), *_pointwise(inner, half))
        self.body = nn.Sequential(*_pointwise(seen, half), *_depthwise(half, stride), *_pointwise(half, half))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, inner, H, W]`` to ``[B, outer, H / stride, W / stride]``, channels of the branches in turn."""
        kept, seen = x.chunk(2, 1) if self.halves else (x, x)
        return torch.stack([self.kept(kept), self.body(seen)], 2).flatten(1, 2)


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 for pictures of 8 to 64 pixels, of any ``image_size``."""

    def __init__(self, classes: int, image_size: int, width: float = 0.5) -> None:
        super().__init__()
        if width not in CHANNELS:
            raise ValueError(f"width {width} is not known (known: {', '.join(map(str, CHANNELS))})")
        layers = _pointwise(3, STEM)
        inner = STEM
        for outer, blocks in zip(CHANNELS[width], BLOCKS, strict=True):
            layers += [Unit(outer if j else inner, outer, 1 if j else 2) for j in range(blocks)]
            inner = outer
        self.features = nn.Sequential(*layers, *_pointwise(inner, LAST))
        self.head = nn.Linear(LAST, classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, 3, H, W]`` to logits ``[B, classes]``."""
        return self.head(self.features(x).mean((2, 3)))
