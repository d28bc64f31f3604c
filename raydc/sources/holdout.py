"""A validation split where a data set has none: a seeded, stratified part of the training images."""

from __future__ import annotations

import numpy as np

from raydc.errors import DataError
from raydc.keys import Key
from raydc.sources.split import Split


def hold_out(classes: tuple[str, ...], train: Split, fraction: float, key: Key) -> tuple[Split, Split]:
    """Part the training images into (training, validation), both in canonical order.

    A class of n >= 2 images gives ``round(n * fraction)`` of them, but at least one and at most n - 1; a class of one
    image keeps it. Which ones depends on the key, the class name and n alone: a subset of the classes, or another order
    of them, holds out the same images.

    Raises:
        DataError: no class has two images.
    """
    held = np.zeros(len(train), dtype=bool)
    for c, name in enumerate(classes):
        rows = train.of_class(c)
        if len(rows) > 1:
            count = min(max(round(len(rows) * fraction), 1), len(rows) - 1)
            held[rows[key.child("hold_out", name).permutation(len(rows))[:count]]] = True
    if not held.any():
        raise DataError(
            "there is no validation split, and none can be held out: every class has one image only. Give "
            "data.validation, or two images or more of some classes"
        )
    return train.take(~held), train.take(held)
