"""Learning-rate schedules: the share of the first learning rate at a time of the training.

A time is counted in epochs. All schedules move once an epoch, as the published recipes do, but ``one_cycle``, which
moves at every step. Warm-up comes first and the schedule runs over the epochs after it (zeyuanyin/tiny-imagenet,
``classification/train.py``: five epochs by a line from 0.01).

==============  ===================================================================================================
cosine          (1 + cos(pi t / (zeta T))) / 2. zeta 1: SRe2L ``validate/train_FKD.py``; zeta 2: RDED
                ``validation/main.py`` and EDC Table 3 ("smoothing"), which end at a half
ssrs            the cosine for t <= 5T/6, then its value at 5T/6 times (T - t) / T: EDC Eq. 33. With zeta 2 it jumps
                from 0.629 to 0.105 at 5T/6
linear          1 - t / (zeta T): what EDC's released ImageNet-1k command runs, with zeta 2
multistep       ``factor`` to the number of milestones passed: EDC's CIFAR-10 halves it at 0.8, 0.9 and 0.95
constant        1: the teachers of G-VBSM on CIFAR
one_cycle       from 1 / div to 1 by a cosine within the first ``rise`` of all steps, then by a cosine to
                1e-4 / div (Smith 2018; torch's OneCycleLR). rise 0.1, div 20: ImageNet-21K-P, Ridnik et al. 2021
==============  ===================================================================================================

Not for: pixels, whose cosine has a step of its own (``condense/synthesize.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from raydc.config.axes.optimize import Constant, Cosine, Linear, MultiStep, OneCycle, Schedule, Ssrs

FIRST = 0.01
"""Share of the learning rate that a warm-up begins with."""
SMOOTH = 5 / 6
"""Share of the training after which ``ssrs`` is steep."""
FINAL = 1e4
"""``one_cycle`` ends at its first value divided by this (torch)."""


def rate(schedule: Schedule, warmup: int, at: float, total: int) -> float:
    """The learning rate at a time, as a share of the recipe's.

    Args:
        schedule: of the recipe.
        warmup: epochs of warm-up.
        at: epochs since the beginning; whole ones unless the schedule moves by steps.
        total: epochs of the training, of warm-up too.
    """
    if at < warmup:
        return FIRST + (1.0 - FIRST) * at / warmup
    return SCHEDULES[schedule.use](schedule, at - warmup, total - warmup)


def by_steps(schedule: Schedule) -> bool:
    """Whether the schedule moves at every step, not once an epoch."""
    return isinstance(schedule, OneCycle)


def _cosine(schedule: Cosine | Ssrs, at: float, total: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * at / (schedule.zeta * total)))


def _ssrs(schedule: Ssrs, at: float, total: float) -> float:
    # Six epochs of T are compared, so that the border is exact wherever T is a multiple of six.
    if 6 * at <= 5 * total:
        return _cosine(schedule, at, total)
    return _cosine(schedule, SMOOTH * total, total) * (total - at) / total


def _linear(schedule: Linear, at: float, total: float) -> float:
    return 1.0 - at / (schedule.zeta * total)


def _multistep(schedule: MultiStep, at: float, total: float) -> float:
    passed = sum(at >= round(milestone * total, 6) for milestone in schedule.milestones)
    return schedule.factor**passed


def _constant(schedule: Constant, at: float, total: float) -> float:
    return 1.0


def _one_cycle(schedule: OneCycle, at: float, total: float) -> float:
    low, part = 1.0 / schedule.div, at / total
    if part < schedule.rise:
        return _between(low, 1.0, part / schedule.rise)
    return _between(1.0, low / FINAL, (part - schedule.rise) / (1.0 - schedule.rise))


def _between(start: float, end: float, part: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * part))


SCHEDULES: dict[str, Callable[[Any, float, float], float]] = {
    "cosine": _cosine,
    "ssrs": _ssrs,
    "linear": _linear,
    "multistep": _multistep,
    "constant": _constant,
    "one_cycle": _one_cycle,
}
