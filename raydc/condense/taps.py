"""What is collected while a frozen network looks at a batch: the moments at the inputs of its layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from raydc.condense.moments import Moments, moments


@dataclass(frozen=True)
class Layer:
    """A layer whose input can be looked at."""

    name: str
    kind: Literal["bn", "conv"]
    module: nn.Module

    @property
    def running(self) -> Moments:
        """What a BatchNorm layer knows of its training data."""
        mean, var = self.module.running_mean, self.module.running_var
        if not isinstance(mean, torch.Tensor) or not isinstance(var, torch.Tensor):
            raise ValueError(f"layer {self.name} keeps no running statistics")
        return Moments(mean.detach(), var.detach())


@dataclass
class Taps:
    """Moments of one forward pass, by position of the layer in :func:`layers`.

    A layer that the pass does not reach is absent; of one that it reaches twice, the last visit counts, as with the
    references' hooks. The first layer, which the multipliers of the references refer to, is that of the smallest
    position, in whatever order the pass reaches them.
    """

    layers: list[Layer]
    batch: dict[int, Moments] = field(default_factory=dict)


def layers(network: nn.Module) -> list[Layer]:
    """The BatchNorm2d layers with running statistics, and the Conv2d layers, in the order of ``network.modules()``."""
    found = []
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            found.append(Layer(name, "bn", module))
        elif isinstance(module, nn.Conv2d):
            found.append(Layer(name, "conv", module))
    return found


@contextmanager
def tapped(found: list[Layer], wanted: Mapping[int, int]) -> Iterator[Taps]:
    """Collect moments during the next forward pass of the network that the layers are of.

    The network must be in eval mode: what propagates is normalised with running statistics, and batch statistics
    enter only through these taps.

    Args:
        found: of :func:`layers`.
        wanted: position of each layer to look at, and the side of its tiles; 0: channels only.

    Raises:
        ValueError: a BatchNorm layer is in training mode; it would drift with every pass.
    """
    training = [layer.name for layer in found if layer.kind == "bn" and layer.module.training]
    if training:
        raise ValueError(f"BatchNorm layers are in training mode: {', '.join(training[:3])}. Call network.eval()")
    taps = Taps(found)

    def collect(position: int, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        taps.batch[position] = moments(inputs[0], wanted[position])

    handles = [found[n].module.register_forward_pre_hook(partial(collect, n)) for n in wanted]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()
