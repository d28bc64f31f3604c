"""Where the first pixels come from.

An initializer is a file with ``image``, the first pixels of one picture as a pure function of its config, its place
(run key, class, index in the class, IPC, size, space) and what there is of the real data. One that must look at all
real images of a class before the first picture is begun has ``choose`` as well, which makes the picks. To add one: a
config record in ``config/axes/initialize.py``, a file here, a line in the table.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from raydc.condense.guide import Guide
from raydc.condense.initialize import confidence, mosaic, noise, real
from raydc.condense.initialize.gallery import Gallery
from raydc.condense.initialize.pick import Pick
from raydc.condense.initialize.place import Material, Place
from raydc.keys import Key


class Initializer(Protocol):
    """What every initializer can do."""

    def image(self, config: Any, place: Place, real: Material) -> torch.Tensor:
        """The first pixels of one picture, float32 ``[3, size, size]`` in the space of its place, on the CPU."""


class Scored(Initializer, Protocol):
    """What those can do that let a teacher choose."""

    def choose(
        self, config: Any, key: Key, label: int, ipc: int, size: int, gallery: Gallery, guide: Guide
    ) -> list[Pick]:
        """What is taken of the real images of a class, for all ``ipc`` pictures of it; no other class matters."""


SCORED: dict[str, Scored] = {"mosaic": mosaic, "confidence": confidence}
"""Those whose picks a selection pass makes before synthesis."""
INITIALIZERS: dict[str, Initializer] = {"noise": noise, "real": real, **SCORED}


def least_images(config: Any, ipc: int) -> int:
    """How many real images a class must have."""
    return int(config.least(ipc))


__all__ = [
    "INITIALIZERS", "SCORED", "Gallery", "Initializer", "Material", "Pick", "Place", "Scored", "least_images",
]  # fmt: skip
