"""A frozen network that is looked at while it answers: the moments at the inputs of its layers.

Eagerly in fp32 it is the caller's network, and hooks hang on it during a look. Any other execution works on a copy of
its structure, with weights in the precision and memory layout that it asks for (``execution/``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from raydc.condense.execution import compiled, explicit
from raydc.condense.moments import Moments, moments_of_groups
from raydc.condense.tiling import Tiling, tiling
from raydc.config.axes.execution import EAGER, Execution

Kind = Literal["bn", "conv"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Layer:
    """A layer whose input can be looked at."""

    name: str
    kind: Kind
    module: nn.Module

    @property
    def running(self) -> Moments:
        """What a BatchNorm layer knows of its training data."""
        mean, var = self.module.running_mean, self.module.running_var
        if not isinstance(mean, torch.Tensor) or not isinstance(var, torch.Tensor):
            raise ValueError(f"layer {self.name} keeps no running statistics")
        return Moments(mean.detach(), var.detach())


def layers(network: nn.Module) -> list[Layer]:
    """The BatchNorm2d layers with running statistics, and the Conv2d layers, in the order of ``network.modules()``."""
    found = []
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            found.append(Layer(name, "bn", module))
        elif isinstance(module, nn.Conv2d):
            found.append(Layer(name, "conv", module))
    return found


class Seen(NamedTuple):
    """The moments of all layers of a kind that a pass reached, each statistic one vector, layer after layer."""

    positions: tuple[int, ...]
    """Of the layers, in :func:`layers`, ascending. The first layer, which the multipliers of the references refer to,
    is that of the smallest position, in whatever order the pass reaches them."""
    lengths: tuple[tuple[int, int], ...]
    """Channels and tiles of each."""
    batch: Moments


Taps = dict[Kind, Seen]
"""What a pass showed, by kind of layer. A layer that it does not reach is absent; of one that it reaches twice, the
last visit counts, as with the references' hooks."""


class Observer:
    """A network, frozen, and what can be seen of its layers.

    The network must be in eval mode: what propagates is normalised with running statistics, and batch statistics enter
    only through these looks.

    Raises:
        ValueError: a BatchNorm layer is in training mode; it would drift with every pass.
    """

    def __init__(self, network: nn.Module, execution: Execution = EAGER) -> None:
        training = [a.name for a in layers(network) if a.kind == "bn" and a.module.training]
        if training:
            raise ValueError(f"BatchNorm layers are in training mode: {', '.join(training[:3])}. Call network.eval()")
        self.execution = execution
        self._dtype = DTYPES.get(execution.precision)
        self._network = explicit(network, self._dtype, rearranged=execution.how != "eager")
        self._kinds = {n: layer.kind for n, layer in enumerate(layers(network))}
        modules = dict(self._network.named_modules())
        self._modules = [modules[layer.name] for layer in layers(network)]
        self._wanted: Mapping[int, int] = {}
        self._groups = 1
        self._tilings: dict[int, Tiling] = {}
        self._noted: dict[int, Moments] = {}
        self._made: dict[Any, Any] = {}
        if execution.how != "eager":  # a compiler takes them for a part of the network
            self._hang()

    def _hang(self) -> list[RemovableHandle]:
        return [module.register_forward_pre_hook(partial(self._note, n)) for n, module in enumerate(self._modules)]

    def look(self, view: torch.Tensor, wanted: Mapping[int, int], groups: int = 1) -> tuple[torch.Tensor, list[Taps]]:
        """What the network answers to pixels ``[B, 3, H, W]``, and the moments on the way, both in at least fp32.

        Args:
            view: in the network's own space.
            wanted: position of each layer to look at, and the side of its tiles; 0: channels only.
            groups: of images, one after another and of equal size; each has moments of its own.
        """
        self._wanted, self._groups = wanted, groups
        eager = self.execution.how == "eager"
        run = self._pass if eager else self._compiled(view)
        handles = self._hang() if eager and wanted else []
        try:
            return run(view)
        finally:
            self._wanted = {}
            self._noted.clear()
            for handle in handles:
                handle.remove()

    def answer(self, view: torch.Tensor) -> torch.Tensor:
        """What the network answers, without looking at its layers."""
        return self.look(view, {})[0]

    def _pass(self, view: torch.Tensor) -> tuple[torch.Tensor, list[Taps]]:
        outputs = self._network(view if self._dtype is None else view.to(self._dtype))
        taps: list[Taps] = [{} for _ in range(self._groups)]
        for kind in ("bn", "conv"):
            positions = tuple(n for n in sorted(self._noted) if self._kinds[n] == kind)
            if positions:
                for own, seen in zip(taps, _together(positions, [self._noted[n] for n in positions]), strict=True):
                    own[kind] = seen
        self._noted.clear()
        return outputs if self._dtype is None else outputs.float(), taps

    def _note(self, position: int, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if position in self._wanted:
            side = self._wanted[position]
            if side and not torch.compiler.is_compiling():
                self._tilings[position] = tiling(inputs[0], side)
            self._noted[position] = moments_of_groups(inputs[0], self._groups, self._tilings[position] if side else 0)

    def _compiled(self, view: torch.Tensor) -> Any:
        """The pass, made by a compiler for pictures of this shape, these layers, and whether a gradient is asked."""
        gradient = torch.is_grad_enabled() and view.requires_grad
        how = (view.shape, self._groups, tuple(sorted(self._wanted.items())), gradient)
        if how not in self._made:
            with torch.no_grad():  # of few pictures, eagerly: it finds the tilings, which a compiler takes as constants
                self._pass(view[: self._groups])
            self._made[how] = compiled(self._pass)
        return self._made[how]


def _together(positions: tuple[int, ...], found: list[Moments]) -> list[Seen]:
    """The layers of a kind, for each group of images."""
    lengths = tuple((m.mean.shape[1], 0 if m.tile_mean is None else m.tile_mean.shape[1]) for m in found)
    joined = Moments(*(torch.cat(parts, 1) for parts in zip(*found, strict=True) if parts[0] is not None))
    return [Seen(positions, lengths, joined.row(group)) for group in range(len(joined.mean))]
