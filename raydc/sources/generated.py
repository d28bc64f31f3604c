"""A data set out of nothing, with any number of classes, to try load, memory and scheduling at a scale without data.

An image is its class's coarse pattern under noise of its own, a function of (class, number in the class) alone. So it
costs no storage, looks the same to every process, and can be told from other classes, but no result on it means
anything about real pictures.
"""

from __future__ import annotations

import numpy as np

from raydc.config.stages.data import DataConfig
from raydc.keys import Key
from raydc.sources.classes import class_list, select
from raydc.sources.decode import encode
from raydc.sources.split import Split

URL = "generated"
"""Stands for a file; the offset of an image in it says which image it is."""
STRIDE = 1 << 32
"""The offset of the first image of a class, per class: which image stands at an offset hangs on no setting."""
PATCHES = 4
"""Coloured patches of a class's pattern, along a side."""
CONTRAST, NOISE = 48.0, 24.0
"""Standard deviations of the pattern and of the noise, in steps of 256."""


def png(offset: int, size: int) -> bytes:
    """Return the image at an offset as a PNG file of ``size`` x ``size`` pixels."""
    label, index = divmod(offset, STRIDE)
    key = Key(("generated", label))
    nearest = np.arange(size) * PATCHES // size
    pattern = key.child("pattern").normal(PATCHES, PATCHES, 3)[nearest][:, nearest]
    noise = key.child("image", index).normal(size, size, 3)
    return encode(np.rint(128 + CONTRAST * pattern + NOISE * noise).clip(0, 255).astype(np.uint8), "png")


def find(config: DataConfig) -> tuple[tuple[str, ...], Split, None]:
    """Return the classes and the index of ``config.images`` images of each; there is no validation split.

    The index is that of a data set in one large file: 24 bytes an image, in arrays.

    Raises:
        ConfigError: a class list, count or subset that cannot be.
    """
    names = class_list(config.classes)
    chosen = select(config.subset, names, "data.subset")
    images = config.images or 1
    label = np.repeat(np.arange(len(chosen), dtype=np.int32), images)
    offset = np.asarray(chosen, np.int64)[label] * STRIDE + np.tile(np.arange(images, dtype=np.int64), len(chosen))
    split = Split((URL,), np.zeros(len(label), np.int32), offset, np.ones(len(label), np.int64), label)
    return tuple(names[c] for c in chosen), split, None
