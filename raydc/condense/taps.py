"""What is collected while a frozen network looks at a batch: the statistics at its BatchNorm inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn


@dataclass
class Taps:
    """Batch statistics of one forward pass and the targets they are held against, one entry a BatchNorm layer.

    Layers stand in the order of ``network.modules()``, the order that the first-layer multiplier of the references
    refers to, in whatever order the pass reaches them. Every tensor is ``[channels]``; means and variances are of the
    layer's input over batch, height and width; variances are biased (SRe2L ``recover/utils.py``, ``BNFeatureHook``).
    """

    names: list[str]
    running_means: list[torch.Tensor]
    running_vars: list[torch.Tensor]
    batch: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    """Position of a layer to (mean, variance) of the batch. A layer that the pass does not reach is absent; of one
    that it reaches twice, the last visit counts, as with the references' hooks."""

    def pairs(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yield (mean, variance, running mean, running variance) of each layer reached, in module order."""
        for position in sorted(self.batch):
            yield (*self.batch[position], self.running_means[position], self.running_vars[position])


def batch_norms(network: nn.Module) -> list[tuple[str, nn.BatchNorm2d]]:
    """The BatchNorm2d layers that have running statistics, in module order."""
    return [
        (name, m) for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d) and m.running_mean is not None
    ]


@contextmanager
def tapped(network: nn.Module) -> Iterator[Taps]:
    """Collect the statistics of the next forward pass of ``network``.

    The network must be in eval mode: what propagates is normalised with running statistics, and batch statistics
    enter only through these taps.

    Raises:
        ValueError: a BatchNorm layer is in training mode; it would drift with every pass.
    """
    layers = batch_norms(network)
    training = [name for name, m in layers if m.training]
    if training:
        raise ValueError(f"BatchNorm layers are in training mode: {', '.join(training[:3])}. Call network.eval()")
    taps = Taps(
        [name for name, _ in layers],
        [m.running_mean.detach() for _, m in layers if m.running_mean is not None],
        [m.running_var.detach() for _, m in layers if m.running_var is not None],
    )

    def collect(position: int, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        # Statistics in at least fp32 whatever the network runs in: sums over 10^5 elements do not fit in 16 bits.
        x = inputs[0] if inputs[0].dtype == torch.float64 else inputs[0].float()
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        taps.batch[position] = mean, variance

    handles = [m.register_forward_pre_hook(partial(collect, i)) for i, (_, m) in enumerate(layers)]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()
