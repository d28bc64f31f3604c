"""WideResNet: pre-activation blocks, three stages of widths 16k, 32k, 64k (Zagoruyko and Komodakis 2016).

``depth`` = 6 n + 4 convolutions with n blocks a stage, ``width`` = k. WRN-16-2 has 703,284 parameters with 100 classes.

Defaults: depth 16 and width 2, a teacher of G-VBSM's and EDC's pools for CIFAR and Tiny-ImageNet (``WRN_16_2``).

Not for: the published WRN-28-10 recipe with dropout, which is left out.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from raydc.teachers.small.weights import he_normal


class Block(nn.Module):
    """BatchNorm, ReLU, 3x3 convolution, twice; where the width changes, the shortcut starts after the first ReLU."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        same = stride == 1 and inner == outer
        self.shortcut = None if same else nn.Conv2d(inner, outer, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, inner, H, W]`` to ``[B, outer, H / stride, W / stride]``."""
        active = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return y + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """A WideResNet for pictures of 8 to 64 pixels, of any ``image_size``."""

    def __init__(self, classes: int, image_size: int, depth: int = 16, width: int = 2) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth {depth} is not 6 n + 4 with n of 1 or more: 10, 16, 22, 28, 40")
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        stages: list[nn.Module] = []
        inner = 16
        for i, outer in enumerate((16 * width, 32 * width, 64 * width)):
            for j in range(blocks):
                stages.append(Block(inner, outer, 2 if i > 0 and j == 0 else 1))
                inner = outer
        self.stages = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(inner)
        self.head = nn.Linear(inner, classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, 3, H, W]`` to logits ``[B, classes]``."""
        return self.head(F.relu(self.bn(self.stages(self.stem(x)))).mean((2, 3)))
