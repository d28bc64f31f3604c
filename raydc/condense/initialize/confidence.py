"""Confidence: whole real images of the class, in the order of a teacher's confidence in it.

Formula: sort the n images of a class by p = softmax(teacher(x))[class], ascending, numbered from 0. ``median`` takes m,
m + 1, m - 1, m + 2, m - 2, ... with m = ceil(n / 2), and where one side has run out, the other goes on; ``highest``
takes n - 1, n - 2, ...; ``lowest`` 0, 1, .... Index 0 of the class is the first taken, the most middling one.
Source: DELT, arXiv 2411.19946, section 3.2; ``data_selection.py`` (``store_medium``, ``store_top``, ``store_min``).
FADRM, arXiv 2506.24125, starts from the same order ("medium", 1x1). There the image is brought to S // 7 * 8 and its
middle S is taken: ``data.crop_fraction: 0.875``. Unlike there, equal scores keep the order of the data set, and the
normalisation is the teacher's own (there ImageNet's for all).
Defaults: median, the best of the paper's ablation (57.67 against 57.03 highest and 57.55 lowest).
Not for: data sets whose pictures must not be recognisable in the product.
"""

from __future__ import annotations

import math
from functools import partial

import torch

from raydc.condense.guide import Guide
from raydc.condense.initialize.gallery import Gallery
from raydc.condense.initialize.pick import Pick
from raydc.condense.initialize.place import Material, Place
from raydc.condense.initialize.score import BATCH, log_probabilities
from raydc.config.axes.initialize import Confidence
from raydc.keys import Key


def choose(config: Confidence, key: Key, label: int, ipc: int, size: int, gallery: Gallery, guide: Guide) -> list[Pick]:
    """The images of a class in the order they are taken, ``ipc`` of them; their score is the probability.

    Raises:
        ValueError: too few images, or answers that are not finite.
    """
    count = gallery.count(label)
    if count < config.least(ipc):
        raise ValueError(
            f"initialize: confidence takes {ipc} images of class {label}, which has {count}. Lower synthesize.ipc"
        )
    found: list[float] = []
    parts = (range(first, min(first + BATCH, count)) for first in range(0, count, BATCH))
    for batch in gallery.ahead(partial(gallery.images, label, part) for part in parts):
        found += log_probabilities(guide, batch.float() / 255.0, label, size)
    ranked = sorted(range(count), key=found.__getitem__)
    taken = [ranked[rank] for rank in _ranks(config.order, count)[:ipc]]
    return [Pick(index, 0, 0, size, size, math.exp(found[index])) for index in taken]


def _ranks(order: str, count: int) -> list[int]:
    """All ranks of an ascending order, as they are taken."""
    if order == "lowest":
        return list(range(count))
    if order == "highest":
        return list(range(count))[::-1]
    middle = math.ceil(count / 2)
    outward = [middle, *(middle + sign * far for far in range(1, count + 1) for sign in (1, -1))]
    return [rank for rank in outward if 0 <= rank < count]


def image(config: Confidence, place: Place, real: Material) -> torch.Tensor:
    """The ``index``-th image that was taken, float32 ``[3, size, size]`` in the space.

    Raises:
        ValueError: no real data, or not the picks of that many images.
    """
    gallery, picks = real.picked(config.use, place.label, config.least(place.ipc))
    return place.space.normalize(gallery.image(place.label, picks[place.index].image).float() / 255.0).cpu()
