"""Where the first pixels come from.

An initializer is a function of (key, label, index, size, space, gallery) that returns one image ``[3, size, size]``
in the normalised space. To add one: a config record in ``config/components.py``, a file here, a line in the table.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from raydc.condense.initialize.gallery import Gallery
from raydc.condense.initialize.noise import noise
from raydc.condense.initialize.real import real
from raydc.condense.space import Space
from raydc.keys import Key

Initializer = Callable[[Key, int, int, int, Space, Gallery | None], torch.Tensor]

INITIALIZERS: dict[str, Initializer] = {"noise": noise, "real": real}

__all__ = ["INITIALIZERS", "Gallery", "Initializer"]
