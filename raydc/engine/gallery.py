"""Real training images as tensors: as they are stored, or as the resize rule of the data set brings them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from raydc.sources.base import Source
from raydc.sources.decode import decode
from raydc.sources.places import in_threads
from raydc.teachers.feed import ahead

AHEAD = 2
"""Batches that are read while a network looks at one; each is read in threads of its own."""
T = TypeVar("T")


def original(source: Source, row: int) -> torch.Tensor:
    """A training image in its own size, uint8 ``[3, H, W]``.

    Raises:
        DataError: it cannot be read or decoded.
    """
    return channels_first(decode(source.raw(source.train, row), source.name(source.train, row)))


def channels_first(pixels: Any) -> torch.Tensor:
    """An array ``[H, W, 3]`` as a tensor ``[3, H, W]`` of its own."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


class SourceGallery:
    """A real source as the initializers see it."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def count(self, label: int) -> int:
        """The number of training images of a class."""
        return len(self.source.train.of_class(label))

    def image(self, label: int, index: int) -> torch.Tensor:
        """One of them, uint8 ``[3, S, S]``."""
        return channels_first(self.source.image(self.source.train, int(self.source.train.of_class(label)[index])))

    def images(self, label: int, indices: Sequence[int]) -> torch.Tensor:
        """Several of them, uint8 ``[n, 3, S, S]``, read in a few threads."""
        rows = self.source.train.of_class(label)[list(indices)]
        return torch.from_numpy(self.source.images(self.source.train, rows).transpose(0, 3, 1, 2).copy())

    def originals(self, label: int, indices: Sequence[int]) -> list[torch.Tensor]:
        """Several of them in their own sizes, each uint8 ``[3, H, W]``, read in a few threads."""
        rows = self.source.train.of_class(label)
        return in_threads(lambda index: original(self.source, int(rows[index])), indices)

    def ahead(self, jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
        """The results of jobs that read images, in order; the next ones are read while one is looked at."""
        return ahead(jobs, AHEAD)
