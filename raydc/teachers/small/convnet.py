"""ConvNet-D: ``depth`` times 3x3 convolution, norm, ReLU, 2x2 average pooling; then one linear layer.

The network of dataset condensation (Zhao et al. 2021): width 128, depth 3 and ``norm: instance`` at 32x32 have 320,010
parameters with 10 classes. G-VBSM and EDC name it by what they change: ConvNetW128, W32, D1, D2 (their
``squeeze/networks.py``). Instance norm is GroupNorm with as many groups as channels, there and here; ``group`` has 4.

Defaults: ours, width 32 with BatchNorm, because ``bn_statistics`` finds nothing in the other norms. Convolutions have
a bias as in the source, but before BatchNorm, which would take it away again.

Not for: ``bn_statistics`` unless ``norm: batch``; convolution statistics work with all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": lambda width: nn.GroupNorm(width, width),
    "group": lambda width: nn.GroupNorm(4, width),
    "none": lambda width: nn.Identity(),
}
"""``norm`` to the layer after a convolution of this width."""


class ConvNet(nn.Module):
    """ConvNet-D for one ``image_size``, halved ``depth`` times."""

    def __init__(self, classes: int, image_size: int, width: int = 32, depth: int = 3, norm: str = "batch") -> None:
        super().__init__()
        side = image_size >> depth
        if side < 1:
            raise ValueError(f"{depth} halvings leave nothing of an image of {image_size} pixels; lower depth")
        if norm not in NORMS:
            raise ValueError(f"norm '{norm}' is not known (known: {', '.join(NORMS)})")
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Conv2d(width if i else 3, width, 3, padding=1, bias=norm != "batch"), NORMS[norm](width)]
            layers += [nn.ReLU(), nn.AvgPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(width * side * side, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, 3, image_size, image_size]`` to logits ``[B, classes]``."""
        return self.head(self.features(x).flatten(1))
