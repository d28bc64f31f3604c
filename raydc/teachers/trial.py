"""A first look at a foreign teacher: does it know the data set at all?

A head of the right size says nothing about the order of its outputs, and a wrong order or normalisation would make
every label wrong without a sign of it. Real images tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from raydc.errors import DataError
from raydc.sources.base import Source
from raydc.teachers.fit import count_hits, fractions
from raydc.teachers.teacher import Teacher

IMAGES = 2000
"""Validation images asked about, evenly over the split: the standard error is at most 1.1 points."""
BATCH = 50
SIGMAS = 3.0
"""Above chance by less than this, a teacher knows nothing of these classes."""
SHARP = 0.1
"""Where that many sigmas are more than this, the images are too few to ask for more than chance."""


def trial(teacher: Teacher, source: Source) -> float:
    """Return the teacher's top-1 on some validation images, a fraction.

    Raises:
        DataError: it does no better than chance. Where images are so few that perfection could be chance, never.
    """
    count = min(IMAGES, len(source.validation))
    rows = np.linspace(0, len(source.validation) - 1, count).round().astype(np.int64)
    top1, _ = fractions(count_hits(teacher.logits, _batches(source, rows, teacher.device), teacher.device))
    chance = 1 / len(source.classes)
    spread = SIGMAS * math.sqrt(chance * (1 - chance) / count)
    if top1 <= chance + (spread if spread <= SHARP else 0) and chance + spread < 1:
        raise DataError(
            f"teacher '{teacher.record.name}' puts {100 * top1:.1f} % of {count} validation images into their class, "
            f"and chance {100 * chance:.1f} %. Its outputs are in another order than the data set's classes (give its "
            "own list as 'classes'), 'normalize' is not what it was trained with, or it was never trained"
        )
    return top1


def _batches(source: Source, rows: np.ndarray, device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for first in range(0, len(rows), BATCH):
        some = rows[first : first + BATCH]
        pixels = torch.from_numpy(source.images(source.validation, some)).permute(0, 3, 1, 2).to(device)
        labels = torch.from_numpy(source.validation.label[some].astype(np.int64)).to(device)
        yield pixels.float() / 255.0, labels
