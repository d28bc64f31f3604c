"""ResNet with a 3x3 stem of stride 1 and no max-pool, one halving a stage (He et al. 2016, basic blocks).

Widths [64, 128, 256, 512] with blocks [2, 2, 2, 2] are the ResNet-18 of the CIFAR and Tiny-ImageNet papers
(``VILA-Lab/SRe2L`` ``*small_dataset/squeeze_cifar.py``, G-VBSM): 11,220,132 parameters with 100 classes.

Defaults: ours, three narrow stages, trained in seconds on a CPU.

Not for: pictures of 224 pixels, which torchvision's stem halves twice before the first block.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from raydc.teachers.small.weights import he_normal


class Block(nn.Module):
    """Two 3x3 convolutions with BatchNorm and a shortcut."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        same = stride == 1 and inner == outer
        self.shortcut: nn.Module = nn.Identity()
        if not same:
            self.shortcut = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, inner, H, W]`` to ``[B, outer, H / stride, W / stride]``."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A ResNet for pictures of 8 to 64 pixels, of any ``image_size``."""

    def __init__(
        self, classes: int, image_size: int, widths: Sequence[int] = (16, 32, 64), blocks: Sequence[int] = (1, 1, 1)
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks) or not widths:
            raise ValueError(f"widths {list(widths)} and blocks {list(blocks)} must have one entry for each stage")
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        stages: list[nn.Module] = []
        inner = widths[0]
        for i, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for j in range(count):
                stages.append(Block(inner, width, 2 if i > 0 and j == 0 else 1))
                inner = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inner, classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, 3, H, W]`` to logits ``[B, classes]``."""
        return self.head(self.stages(self.stem(x)).mean((2, 3)))
