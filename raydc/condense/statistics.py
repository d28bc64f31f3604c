"""Statistics of the real data at the layers of one teacher: of all data, and of each class.

One vector of F numbers holds the moments of all layers: each layer's channels, then its tiles. Means and variances are
kept, not sums of squares: a mixture of classes with shares p has mean M = sum p_c M_c and variance
sum p_c V_c + sum p_c (M_c - M)^2, which is exact (EDC, arXiv 2404.13733, lemma B.3) and loses no digits.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from raydc.condense.moments import Moments

Moment = Literal["total", "within_image"]
KEPT = 32
"""Mixtures that are kept at once."""
MEAN, VAR, WITHIN = 0, 1, 2
"""Rows of the tensors below: means, variances of all values, means of the variances within single images."""


@dataclass(frozen=True)
class Segment:
    """The place of one layer in the vector."""

    name: str
    """Of the layer, as in ``network.named_modules()``."""
    channels: int
    tiles: int


@dataclass
class Statistics:
    """The statistics of one teacher; tensors may be pages of a file that many processes map."""

    segments: list[Segment]
    tile: int
    """Side of a tile; 0: no tiles."""
    whole: torch.Tensor
    """``[2 or 3, F]``: rows :data:`MEAN`, :data:`VAR` and, where it was asked for, :data:`WITHIN`, of all data."""
    classes: torch.Tensor | None = None
    """``[K, 2 or 3, F]``: the same of each class."""
    _kept: dict[Hashable, dict[str, Moments]] = field(default_factory=dict, repr=False)
    """What was asked for: of all data for good, and the last mixtures."""

    def of_all(self, device: torch.device) -> dict[str, Moments]:
        """The moments of all data, float32, by name of the layer."""
        if device not in self._kept:
            self._kept[device] = self._split(self.whole[MEAN].float(), self.whole[VAR].float(), device)
        return self._kept[device]

    def of_classes(self, labels: Sequence[int], moment: Moment, device: torch.device) -> dict[str, Moments]:
        """The moments of a mixture of classes, float32, by name of the layer.

        Args:
            labels: the classes, each as often as its share demands: the labels of a batch.
            moment: the variance of all values, or the published mean of the variances within images.
            device: of the result.

        Raises:
            ValueError: the statistics were collected without classes, or without the variances within images.
        """
        if self.classes is None:
            raise ValueError("these statistics were not collected by class")
        if moment == "within_image" and self.classes.shape[1] <= WITHIN:
            raise ValueError("these statistics hold no variances within single images")
        key = (device, moment, *labels)
        if key not in self._kept:
            if len(self._kept) > KEPT:  # rounds of a block have few mixtures, and a worker many blocks
                self._kept = {k: found for k, found in self._kept.items() if isinstance(k, torch.device)}
            present, counts = torch.tensor(list(labels)).unique(return_counts=True)
            # Only these rows are read from the file.
            rows = self.classes[present].double()
            share = (counts.double() / len(labels))[:, None]
            mean = (share * rows[:, MEAN]).sum(0)
            if moment == "total":
                var = (share * (rows[:, VAR] + (rows[:, MEAN] - mean) ** 2)).sum(0)
            else:
                var = (share * rows[:, WITHIN]).sum(0)
            self._kept[key] = self._split(mean.float(), var.float(), device)
        return self._kept[key]

    def _split(self, mean: torch.Tensor, var: torch.Tensor, device: torch.device) -> dict[str, Moments]:
        sizes = [size for s in self.segments for size in (s.channels, s.tiles)]
        means, variances = mean.to(device).split(sizes), var.to(device).split(sizes)
        return {
            s.name: Moments(means[2 * n], variances[2 * n], means[2 * n + 1], variances[2 * n + 1])
            for n, s in enumerate(self.segments)
        }
