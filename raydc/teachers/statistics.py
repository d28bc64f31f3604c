"""Sums over real images at the layers of a teacher, from which moments of all data and of each class are made.

Formula: of every image i and number f (a channel, or a tile, of a layer's input) the mean m and biased variance v; of a
class with n images M = sum m / n, V = sum (v + m^2) / n - M^2, and W = sum v / n. As every image has as many positions
as any other, M and V are the exact moments of all values of the class, and sums of parts of a class add up to it.
Source: EDC, arXiv 2404.13733, section 3 and lemma B.3; its code keeps W in place of V, which leaves out how images of a
class differ (specification section 3.3, 3). LPLD, arXiv 2410.15919, estimates V by a running average.
Sums are float64: m^2 and V may differ by many digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from raydc.condense.moments import Moments, moments_of_groups, tiles
from raydc.condense.observer import layers
from raydc.condense.statistics import MEAN, VAR, WITHIN, Segment
from raydc.config.stages.networks import Arch
from raydc.plan.statistics import Needed
from raydc.teachers.networks import build, skeleton


@dataclass(frozen=True)
class Layout:
    """Which layers of a network are looked at, and where in the vector each has its place."""

    positions: tuple[int, ...]
    """In :func:`raydc.condense.observer.layers`."""
    segments: tuple[Segment, ...]
    tile: int

    @property
    def width(self) -> int:
        """Length of the vector."""
        return sum(s.channels + s.tiles for s in self.segments)


def layout_of(arch: Arch, outputs: int, side: int, needed: Needed) -> Layout:
    """The layout of a network by name; its shapes are followed on the meta device, nothing is computed."""
    try:
        return layout(skeleton(arch, outputs, side), side, needed)
    except (RuntimeError, NotImplementedError):  # some operations exist on real devices alone
        return layout(build(arch, outputs, side), side, needed)


def layout(network: nn.Module, side: int, needed: Needed) -> Layout:
    """What a pass of one image of ``side`` pixels reaches of the layers that are needed, in the order of modules."""
    found = layers(network)
    wanted = {"bn": needed.bn, "conv": needed.conv}
    shapes: dict[int, torch.Size] = {}

    def see(position: int, x: torch.Tensor) -> None:
        shapes[position] = x.shape

    was_training, device = network.training, next(network.parameters()).device
    try:
        with looking(network.eval(), [n for n, layer in enumerate(found) if wanted[layer.kind]], see), torch.no_grad():
            network(torch.zeros(1, 3, side, side, device=device))
    finally:
        network.train(was_training)
    sides = {n: needed.tile if found[n].kind == "conv" else 0 for n in shapes}
    segments = [
        Segment(found[n].name, shape[1], tiles(shape[2], shape[3], sides[n])) for n, shape in sorted(shapes.items())
    ]
    return Layout(tuple(sorted(shapes)), tuple(segments), needed.tile)


@contextmanager
def looking(network: nn.Module, positions: Sequence[int], see: Callable[[int, torch.Tensor], None]) -> Iterator[None]:
    """Show ``see`` the input of each of these layers, with its position, whenever a pass of the network reaches it."""

    def hook(position: int, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        see(position, inputs[0])

    found = layers(network)
    handles = [found[n].module.register_forward_pre_hook(partial(hook, n)) for n in positions]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def moments_of_images(network: nn.Module, layout: Layout, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The moments of each image alone at all layers of a layout.

    Args:
        network: in eval mode.
        layout: of it.
        x: its input, ``[B, 3, S, S]``.

    Returns:
        Means and variances, float32 ``[B, F]``.
    """
    tile = {n: layout.tile if s.tiles else 0 for n, s in zip(layout.positions, layout.segments, strict=True)}
    seen: dict[int, Moments] = {}

    def see(position: int, at_layer: torch.Tensor) -> None:
        seen[position] = moments_of_groups(at_layer, len(at_layer), tile[position])

    with looking(network, layout.positions, see):
        network(x)
    found = [seen[n] for n in layout.positions]
    means = [values for m in found for values in (m.mean, m.tile_mean) if values is not None]
    variances = [values for m in found for values in (m.var, m.tile_var) if values is not None]
    return torch.cat(means, 1), torch.cat(variances, 1)


@dataclass
class Sums:
    """Sums over images, by class; parts of a data set add up by :meth:`merge`, in any order."""

    labels: torch.Tensor
    """int64 ``[n]``, ascending: the classes that there is something of."""
    counts: torch.Tensor
    """int64 ``[n]``: images of each."""
    values: torch.Tensor
    """float64 ``[n, 2 or 3, F]``: sums of m, of v + m^2 and, where it is asked for, of v."""

    @classmethod
    def zeros(cls, labels: Sequence[int], width: int, rows: int, device: torch.device | str = "cpu") -> Sums:
        """Nothing yet of these classes; labels and counts stay on the CPU."""
        known = torch.tensor(sorted(set(labels)), dtype=torch.int64)
        values = torch.zeros(len(known), rows, width, dtype=torch.float64, device=device)
        return cls(known, torch.zeros(len(known), dtype=torch.int64), values)

    def add(self, mean: torch.Tensor, var: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a batch: one addition for all layers and no wait for the device.

        Args:
            mean: of each image, ``[B, F]``.
            var: of each image, ``[B, F]``.
            labels: int64 ``[B]`` on the CPU.

        Raises:
            ValueError: a class that these sums were not made for.
        """
        where = torch.searchsorted(self.labels, labels)
        if not torch.equal(self.labels[where.clamp(max=len(self.labels) - 1)], labels):
            raise ValueError(f"labels {labels.unique().tolist()} are not among {self.labels.tolist()}")
        self.counts += torch.bincount(where, minlength=len(self.labels))
        at, mean, var = where.to(self.values.device), mean.double(), var.double()
        self.values[:, MEAN].index_add_(0, at, mean)
        self.values[:, VAR].index_add_(0, at, var + mean.square())
        if self.values.shape[1] > WITHIN:
            self.values[:, WITHIN].index_add_(0, at, var)

    def merge(self, other: Sums) -> Sums:
        """The sums of both."""
        rows, width = self.values.shape[1:]
        both = Sums.zeros([*self.labels.tolist(), *other.labels.tolist()], width, rows, self.values.device)
        for part in (self, other):
            at = torch.searchsorted(both.labels, part.labels)
            both.counts[at] += part.counts
            both.values[at] += part.values
        return both

    def whole(self) -> Sums:
        """The sums of all classes as one, under the label 0."""
        return Sums(torch.zeros(1, dtype=torch.int64), self.counts.sum()[None], self.values.sum(0, keepdim=True))

    def split(self, label: int) -> tuple[Sums, Sums]:
        """The classes before a label, and the others."""
        at = int(torch.searchsorted(self.labels, label))
        parts = (slice(None, at), slice(at, None))
        first, rest = (Sums(self.labels[s], self.counts[s], self.values[s]) for s in parts)
        return first, rest

    def moments(self) -> torch.Tensor:
        """Rows of :mod:`raydc.condense.statistics`, float64 ``[n, 2 or 3, F]``; of a class without images, NaN."""
        found = self.values / self.counts.to(self.values.device).double()[:, None, None]
        # Where all values are equal, rounding may leave a variance of -1e-17.
        found[:, VAR] = (found[:, VAR] - found[:, MEAN].square()).clamp(min=0)
        return found

    def tensors(self) -> dict[str, torch.Tensor]:
        """For safetensors."""
        return {"labels": self.labels, "counts": self.counts, "values": self.values.cpu().contiguous()}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> Sums:
        """From what :meth:`tensors` gave."""
        return cls(tensors["labels"], tensors["counts"], tensors["values"])

    def unusable(self, layout: Layout) -> str | None:
        """The first layer where some sum is no longer a number; None where all are."""
        bad = ~torch.isfinite(self.values).all(0).all(0).cpu()
        return place(layout.segments, int(bad.nonzero()[0])) if bad.any() else None


def place(segments: Sequence[Segment], number: int) -> str:
    """The name of the layer that a number of the vector belongs to."""
    for segment in segments:
        number -= segment.channels + segment.tiles
        if number < 0:
            return segment.name
    raise ValueError(f"the vector ends {number + 1} before this number")
