"""What a first picture is made from: its place in the product, and what there is of the real data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raydc.condense.initialize.gallery import Gallery
from raydc.condense.initialize.pick import Pick
from raydc.condense.space import Space
from raydc.keys import Key


@dataclass(frozen=True)
class Place:
    """Which picture of the product is begun, and what it is to be."""

    key: Key
    """The run's own."""
    label: int
    index: int
    """Of the picture in its class, from 0."""
    ipc: int
    size: int
    """Side in pixels."""
    space: Space


@dataclass(frozen=True)
class Material:
    """What there is of the real data: the images, and what a selection pass has picked for the class of a place."""

    gallery: Gallery | None = None
    picks: Sequence[Pick] | None = None

    def images(self, use: str) -> Gallery:
        """The real images.

        Raises:
            ValueError: there are none, which initializer ``use`` cannot do without.
        """
        if self.gallery is None:
            raise ValueError(f"initialize: {use} needs real images, but the run has none (data.use is 'none')")
        return self.gallery

    def picked(self, use: str, label: int, count: int) -> tuple[Gallery, Sequence[Pick]]:
        """The real images and the picks of a class.

        Raises:
            ValueError: no real images, or not so many picks.
        """
        gallery, picks = self.images(use), self.picks or ()
        if len(picks) != count:
            raise ValueError(f"initialize: {use} needs {count} picks of class {label}; there are {len(picks)} picks")
        return gallery, picks
