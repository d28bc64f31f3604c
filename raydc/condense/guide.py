"""A teacher as the synthesis loop sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from raydc.condense.space import Space
from raydc.condense.statistics import Statistics
from raydc.condense.taps import Layer, layers


@dataclass
class Guide:
    """A frozen network that pixels are optimised against."""

    network: nn.Module
    """In eval mode; maps ``[B, 3, H, W]`` of its space to outputs."""
    pick: Callable[[torch.Tensor], torch.Tensor]
    """Maps the network's outputs to logits ``[B, K]`` over the label space."""
    space: Space
    """The network's own normalised space."""
    statistics: Statistics | None = None
    """What is known of the real data under it."""
    layers: list[Layer] = field(init=False)

    def __post_init__(self) -> None:
        self.layers = layers(self.network)

    def logits(self, x: torch.Tensor, space: Space) -> torch.Tensor:
        """Logits ``[B, K]`` of pixels ``[B, 3, H, W]`` of another space."""
        return self.pick(self.network(self.space.adopt(x, space)))
