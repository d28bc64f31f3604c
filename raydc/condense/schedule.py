"""How numbers move over the steps of a block."""

from __future__ import annotations

import math

from raydc.config.base import Anneal


def cosine(step: int, steps: int) -> float:
    """Half a cosine from 1 at step 0 towards 0; never exactly 0 within ``range(steps)``.

    SRe2L ``recover/data_synthesis.py``: the learning rate of step t is lr * (1 + cos(pi * t / T)) / 2, set before
    every step, no warm-up.
    """
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


def anneal(value: float | Anneal, step: int, steps: int) -> float:
    """The value of a constant or annealed number at a step.

    CDA ``recover_cda_in1k.py``: with milestone m, for t < m * T the crop's least scale is ``to`` + (``from`` - ``to``)
    times (1 + cos(pi * t / (m * T))) / 2 (cosine), 1 - t / (m * T) (linear) or 1 (step); from then on it is ``to``.
    """
    if not isinstance(value, Anneal):
        return value
    span = value.milestone * steps
    if step >= span:
        return value.end
    shapes = {"cosine": 0.5 * (1.0 + math.cos(math.pi * step / span)), "linear": 1.0 - step / span, "step": 1.0}
    left = shapes[value.shape]
    return value.end + (value.start - value.end) * left
