"""Frozen toy networks with BatchNorm and statistics of their own."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from raydc.keys import Key


def frozen(network: nn.Module, name: str = "net") -> nn.Module:
    """Fill weights and running statistics from a key, freeze, and set to eval mode."""
    for path, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        draw = torch.from_numpy(Key((name, path)).normal(*tensor.shape)).reshape(tensor.shape)
        fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 1
        if path.endswith("running_var"):
            draw = 0.5 + draw.abs()
        elif tensor.dim() == 1:
            draw = 0.2 * draw + (1.0 if path.endswith("weight") else 0.0)
        else:
            draw = draw * (2.0 / fan_in) ** 0.5
        tensor.copy_(draw)
    return network.eval().requires_grad_(False)


class TinyResNet(nn.Module):
    """A stem and one block. The shortcut's BatchNorm is registered last, as in torchvision, but runs first."""

    def __init__(self, classes: int = 5, width: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = nn.Sequential(nn.Conv2d(width, width, 1, stride=2, bias=False), nn.BatchNorm2d(width))
        self.fc = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        shortcut = self.downsample(x)
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)) + shortcut)
        return self.fc(x.mean(dim=(2, 3)))


def pixels(count: int, side: int, name: str = "x", channels: int = 3) -> torch.Tensor:
    """Keyed noise, float32 ``[count, channels, side, side]``."""
    return torch.from_numpy(Key((name,)).normal(count, channels, side, side))
