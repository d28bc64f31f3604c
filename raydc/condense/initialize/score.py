"""What a teacher thinks of pictures of a class."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from raydc.condense.guide import Guide

BATCH = 100
"""Pictures that a teacher sees at once. All are of one class, so a score does not depend on which other classes the
same worker looks at; the number is part of the arithmetic, and so fixed here."""


def log_probabilities(guide: Guide, pictures: torch.Tensor, label: int, size: int) -> list[float]:
    """The log-probability of a class for each picture, without gradients.

    Args:
        guide: the teacher that scores.
        pictures: float ``[N, 3, h, w]`` in [0, 1]. Smaller ones than ``size`` are not enlarged: they are set in the
            middle of zeros (the mean colour) in the teacher's normalised space, an odd pixel more below and right.
        label: the class.
        size: side of what the teacher sees, in pixels.

    Raises:
        ValueError: an answer that is not finite.
    """
    down, across = size - pictures.shape[2], size - pictures.shape[3]
    around = (across // 2, across - across // 2, down // 2, down - down // 2)
    found = []
    with torch.inference_mode():
        for batch in pictures.split(BATCH):
            x = F.pad(guide.space.normalize(batch.to(guide.space.mean.device)), around)
            found.append(guide.logits(x, guide.space).log_softmax(dim=1)[:, label].double().cpu())
    scores = torch.cat(found)
    if not torch.isfinite(scores).all():
        raise ValueError(f"the scoring teacher's answers to images of class {label} are not finite. Check its weights")
    return scores.tolist()
