"""Parts of a protocol: what students with hard labels see, and how a learning rate is chosen without the test set."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raydc.config.axes.augment import Dsa
from raydc.config.axes.views import Views
from raydc.config.base import Strict


class HardViews(Views):
    """What students with hard labels see, where that is not what the labelling teachers see."""

    dsa: Dsa | None = None
    """After the crop, on normalised values: one operation a batch, each image with numbers of its own."""


class Select(Strict):
    """A search of the learning rate, for every student, kind of data, labels and augmentation.

    Each rate is tried once, with the first seed, and judged after its last epoch on training images that are held out
    for it. Full data is then tried without them; condensed and random images may stem from them, as the teachers do.
    The student is trained anew with the best rate. The test images take no part.
    """

    lr: list[Annotated[float, Field(gt=0)]] = Field(min_length=2)
    fraction: float = Field(0.1, gt=0, lt=1)
    """Share of each class's training images that is held out."""
