"""AlexNet for small pictures: five convolutions without normalisation, three max-pools, one linear layer.

The form of the condensation literature (Zhao et al. 2021; ``networks.py`` of G-VBSM): 5x5, 5x5, 3x3, 3x3, 3x3 with 128,
192, 256, 192, 192 channels. 1,872,202 parameters with 10 classes at 32x32.

Defaults: width 1, the channels above; ours: a smaller ``width`` multiplies all of them.

Not for: ``bn_statistics``, which it has none of; a pool needs convolution statistics to be guided by it.
"""

from __future__ import annotations

import torch
from torch import nn

LAYERS = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))
"""Channels at width 1, kernel, and whether a max-pool follows."""
SMALLEST = 2 ** sum(pooled for _, _, pooled in LAYERS)


class AlexNet(nn.Module):
    """AlexNet for one ``image_size``, halved three times."""

    def __init__(self, classes: int, image_size: int, width: float = 1.0) -> None:
        super().__init__()
        if image_size < SMALLEST:
            raise ValueError(f"an image of {image_size} pixels is too small; expected {SMALLEST} or more")
        layers: list[nn.Module] = []
        inner = 3
        for channels, kernel, pooled in LAYERS:
            outer = int(channels * width)
            layers += [nn.Conv2d(inner, outer, kernel, padding=kernel // 2), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pooled else []
            inner = outer
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(inner * (image_size // SMALLEST) ** 2, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, 3, image_size, image_size]`` to logits ``[B, classes]``."""
        return self.head(self.features(x).flatten(1))
