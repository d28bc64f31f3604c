"""Small networks for small pictures: a ResNet with a 3x3 stem, and the ConvNet of the condensation literature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two 3x3 convolutions with BatchNorm and a shortcut (He et al. 2016, basic block)."""

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
    """A ResNet for pictures of 8 to 64 pixels: 3x3 stem of stride 1, no max-pool, one halving a stage."""

    def __init__(self, classes: int, widths: Sequence[int] = (16, 32, 64), blocks: Sequence[int] = (1, 1, 1)) -> None:
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
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, 3, H, W]`` to logits ``[B, classes]``."""
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


class ConvNet(nn.Module):
    """ConvNet-D: ``depth`` times 3x3 convolution, BatchNorm, ReLU, 2x2 average pooling; then one linear layer.

    The network of dataset condensation (Zhao et al. 2021, there with instance norm) in its BatchNorm form.
    """

    def __init__(self, classes: int, image_size: int, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        side = image_size >> depth
        if side < 1:
            raise ValueError(f"{depth} halvings leave nothing of an image of {image_size} pixels; lower depth")
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Conv2d(width if i else 3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
            layers += [nn.ReLU(), nn.AvgPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(width * side * side, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, 3, image_size, image_size]`` to logits ``[B, classes]``."""
        return self.head(self.features(x).flatten(1))


def _resnet(classes: int, image_size: int, **options: Any) -> nn.Module:
    return ResNet(classes, **options)


_resnet.__doc__ = ResNet.__doc__

SMALL: dict[str, Callable[..., nn.Module]] = {"resnet": _resnet, "convnet": ConvNet}
"""Networks of ``arch: {use: small}``: name to constructor of (classes, image_size, **options)."""
