"""What an initializer may ask of the real data: how many images a class has, and some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import torch

T = TypeVar("T")


class Gallery(Protocol):
    """Real images by class; those of a class are numbered in canonical order."""

    def count(self, label: int) -> int:
        """The number of real images of a class."""

    def image(self, label: int, index: int) -> torch.Tensor:
        """One image of a class as the data set's resize rule brings it, uint8 ``[3, S, S]``."""

    def images(self, label: int, indices: Sequence[int]) -> torch.Tensor:
        """Several of them, uint8 ``[n, 3, S, S]``."""

    def originals(self, label: int, indices: Sequence[int]) -> list[torch.Tensor]:
        """Several of them as they are stored, each uint8 ``[3, H, W]`` in its own size."""

    def ahead(self, jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
        """The results of jobs that read images, in order, some begun before they are asked for.

        While a teacher looks at some pictures, the next are read and cut.
        """
