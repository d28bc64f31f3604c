"""What an initializer may ask of the real data: how many images a class has, and one of them."""

from __future__ import annotations

from typing import Protocol

import torch


class Gallery(Protocol):
    """Real images by class."""

    def count(self, label: int) -> int:
        """The number of real images of a class."""

    def image(self, label: int, index: int) -> torch.Tensor:
        """The ``index``-th image of a class in canonical order, uint8 ``[3, H, W]``."""
