"""A running average of a network's weights, which is tested in their place.

``average <- d average + (1 - d) live`` after every optimiser step t (from 1), with d = decay, or with
``warmup`` min(decay, (1 + t) / (10 + t)). Source: EDC ``train/train_FKD_parallel.py`` (decay 0.99 a step, parameters
only, no warm-up: there the random start is forgotten by and by, and BatchNorm's buffers are the live ones). Default
of decay: EDC Table 5; buffers are averaged too, because statistics of the live weights are not those of the average.

Not for: decays near 1 in short trainings; EDC found 0.9999 far below 0.99.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from raydc.config.stages.evaluate import WeightAverage
from raydc.errors import DataError


class Average:
    """The averaged tensors of a network, by name; begins with the network's own."""

    def __init__(self, network: nn.Module, config: WeightAverage) -> None:
        self._config = config
        self._live: dict[str, torch.Tensor] = dict(network.named_parameters())
        if config.buffers:  # counters are taken live
            self._live |= {name: b for name, b in network.named_buffers() if b.is_floating_point()}
        self.tensors = {name: value.detach().clone() for name, value in self._live.items()}
        """What to test with, in place of the network's tensors of the same names."""

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the live weights after optimiser step ``step`` (from 1)."""
        decay = self._config.decay
        if self._config.warmup:
            decay = min(decay, (1 + step) / (10 + step))
        for name, value in self._live.items():
            self.tensors[name].lerp_(value, 1.0 - decay)

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go back to what :attr:`tensors` was.

        Raises:
            DataError: tensors of another network, or of an average made otherwise.
        """
        shapes = {name: value.shape for name, value in self.tensors.items()}
        if {name: value.shape for name, value in tensors.items()} != shapes:
            raise DataError(
                f"the saved state has an average of {len(tensors)} tensors that are not the {len(shapes)} of this "
                "network: it was made with another evaluate.average. Remove it to start anew"
            )
        for name, value in tensors.items():
            self.tensors[name].copy_(value)
