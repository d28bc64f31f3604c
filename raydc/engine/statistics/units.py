"""Units of the statistics pass: runs of images in class order, so that a unit touches few classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from raydc.sources.split import Split

IMAGES = 2048
"""Images of a unit at most: a killed worker loses this many, and a class of ImageNet lies in one unit or two."""
CLASSES = 32
"""Classes of a unit at most. A worker holds the sums of its classes: 26 MB of EfficientNet-B0's 50,655 numbers."""


class Unit(NamedTuple):
    """Images from ``first`` to before ``last``, counted in class order."""

    number: int
    first: int
    last: int

    def name(self, turn: int) -> str:
        """Of its sums in one pass over the data."""
        return f"p{turn:03d}-u{self.number:06d}"


def cut(counts: np.ndarray) -> list[Unit]:
    """Cut a split into units, by the number of images of each class ``[K]``."""
    ends = np.cumsum(counts)
    units: list[Unit] = []
    first, total = 0, int(ends[-1])
    while first < total:
        label = int(np.searchsorted(ends, first, side="right"))
        last = min(first + IMAGES, int(ends[min(label + CLASSES, len(ends)) - 1]))
        units.append(Unit(len(units), first, last))
        first = last
    return units


def rows_of(split: Split, ends: np.ndarray, first: int, last: int) -> np.ndarray:
    """The images of a unit, int64 rows of the split; ``ends`` [K]: where each class ends in class order."""
    begin, end = np.searchsorted(ends, [first, last - 1], side="right").tolist()
    rows = np.concatenate([split.of_class(label) for label in range(begin, end + 1)])
    skipped = first - (int(ends[begin - 1]) if begin else 0)
    return rows[skipped : skipped + last - first]
