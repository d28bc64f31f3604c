"""A teacher as the synthesis loop sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import nn

from raydc.condense.observer import Layer, Observer, Taps, layers
from raydc.condense.space import Space
from raydc.condense.statistics import Statistics
from raydc.config.axes.execution import EAGER, Execution


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
    execution: Execution = EAGER
    """How the network is run."""
    layers: list[Layer] = field(init=False)

    def __post_init__(self) -> None:
        self.layers = layers(self.network)

    @cached_property
    def observer(self) -> Observer:
        """The network as it is looked at; made when it first is."""
        return Observer(self.network, self.execution)

    def look(
        self, x: torch.Tensor, space: Space, wanted: Mapping[int, int], groups: int = 1
    ) -> tuple[torch.Tensor, list[Taps]]:
        """Logits ``[B, K]`` of pixels ``[B, 3, H, W]`` of another space, and the moments of each of so many groups of
        them at layers that are wanted."""
        outputs, taps = self.observer.look(self.space.adopt(x, space), wanted, groups)
        return self.pick(outputs), taps

    def logits(self, x: torch.Tensor, space: Space) -> torch.Tensor:
        """Logits ``[B, K]`` of pixels ``[B, 3, H, W]`` of another space."""
        return self.look(x, space, {})[0]
