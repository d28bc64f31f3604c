"""Where the first pixels come from.

An initializer is a file with ``image``, the first pixels of one image as a pure function of (config, run key, class,
index in the class, IPC, size), the real images, and the picks of the class. One that must look at all real images of a
class before the first picture is begun has ``choose`` as well, which makes the picks. To add one: a config record in
``config/axes/initialize.py``, a file here, a line in the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from raydc.condense.guide import Guide
from raydc.condense.initialize import confidence, mosaic, noise, real
from raydc.condense.initialize.gallery import Gallery
from raydc.condense.initialize.pick import Pick
from raydc.condense.space import Space
from raydc.keys import Key


class Initializer(Protocol):
    """What every initializer can do."""

    def image(
        self,
        config: Any,
        key: Key,
        label: int,
        index: int,
        ipc: int,
        size: int,
        space: Space,
        gallery: Gallery | None,
        picks: Sequence[Pick] | None,
    ) -> torch.Tensor:
        """The first pixels of image ``index`` of a class, float32 ``[3, size, size]`` in the space, on the CPU."""


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


__all__ = ["INITIALIZERS", "SCORED", "Gallery", "Initializer", "Pick", "Scored", "least_images"]
