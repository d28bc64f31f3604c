"""Where every image of a split lies and what it shows, in arrays and string tables only.

Nothing here is kept per image in Python objects: ImageNet-21K has 13 million images. A split costs 24 bytes an image
in arrays; class folders add the file name below the root, about 40 bytes in a ``Names`` table (0.5 GB for 13 million
images, where a tuple of ``str`` would take 1.6 GB and minutes to pickle). WebDataset shards add nothing per image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np

WHOLE = -1
"""The ``size`` of an image that is a file of its own."""


class Names(Sequence[str]):
    """An immutable table of strings as two arrays, with a common prefix that is stored once.

    Attributes:
        prefix: What every string begins with.
        text: u8, the strings' UTF-8 without the prefix, end to end.
        ends: i64 [n], where each ends in ``text``.
    """

    def __init__(self, prefix: str, text: np.ndarray, ends: np.ndarray) -> None:
        self.prefix, self.text, self.ends = prefix, text, ends

    @classmethod
    def of(cls, strings: Iterable[str], prefix: str = "") -> Names:
        """Pack strings, given without the prefix."""
        encoded = [s.encode("utf-8", "surrogateescape") for s in strings]
        ends = np.cumsum([len(e) for e in encoded], dtype=np.int64)
        return cls(prefix, np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    @classmethod
    def join(cls, tables: Sequence[Names], prefix: str = "") -> Names:
        """Chain tables that have the same prefix; it becomes ``prefix``."""
        if not tables:
            return cls.of((), prefix)
        starts = np.cumsum([0] + [len(t.text) for t in tables[:-1]], dtype=np.int64)
        ends = np.concatenate([t.ends + start for t, start in zip(tables, starts, strict=True)])
        return cls(prefix, np.concatenate([t.text for t in tables]), ends)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...
    def __getitem__(self, i: int | slice) -> str | Sequence[str]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        start = int(self.ends[i - 1]) if i else 0
        return self.prefix + self.text[start : self.ends[i]].tobytes().decode("utf-8", "surrogateescape")


@dataclass(frozen=True, eq=False)
class Split:
    """Where each image of a split lies and what it shows, in canonical order (by shard, then as stored; by name)."""

    files: Sequence[str]
    """URLs: of shards, or of images. Two splits may share one table."""
    file: np.ndarray
    """i32 [n]: row of ``files``."""
    offset: np.ndarray
    """i64 [n]: first byte of the image in the file."""
    size: np.ndarray
    """i64 [n]: bytes of the image; -1 = the whole file."""
    label: np.ndarray
    """i32 [n]: class."""

    def __len__(self) -> int:
        return len(self.label)

    def of_class(self, c: int) -> np.ndarray:
        """Return the i64 indices of the images of class ``c``, in canonical order."""
        order, labels = self._by_class
        low, high = np.searchsorted(labels, [c, c + 1])
        return np.arange(low, high, dtype=np.int64) if order is None else order[low:high]

    def counts(self, classes: int) -> np.ndarray:
        """Return i64 [classes], the number of images of each class."""
        return np.bincount(self.label, minlength=classes).astype(np.int64)

    def take(self, rows: np.ndarray) -> Split:
        """Return the split of these rows, indices or a mask."""
        return Split(self.files, self.file[rows], self.offset[rows], self.size[rows], self.label[rows])

    def keep(self, chosen: Sequence[int]) -> Split:
        """Return the images of the chosen classes, numbered anew in the order of ``chosen``; their order stays."""
        largest = max(int(self.label.max(initial=0)), *chosen)
        new = np.full(largest + 1, -1, dtype=np.int32)
        new[list(chosen)] = np.arange(len(chosen), dtype=np.int32)
        label = new[self.label]
        if np.array_equal(label, self.label):
            return self
        rows = label >= 0
        return Split(self.files, self.file[rows], self.offset[rows], self.size[rows], label[rows])

    @cached_property
    def _by_class(self) -> tuple[np.ndarray | None, np.ndarray]:
        """(indices sorted by class, their labels); no indices where the split is in class order already."""
        if np.all(self.label[:-1] <= self.label[1:]):
            return None, self.label
        order = np.argsort(self.label, kind="stable").astype(np.int64)
        return order, self.label[order]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_by_class"}


def empty_split() -> Split:
    """Return a split without images."""
    i32, i64 = np.zeros(0, np.int32), np.zeros(0, np.int64)
    return Split((), i32, i64, i64, i32)
