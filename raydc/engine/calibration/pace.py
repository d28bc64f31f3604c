"""How long something takes that is repeated until a time is over; the first repetitions stand apart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from raydc.plan.measured import Loop, Timing

WARM = 2
"""Repetitions before the steady pace: kernels are chosen and memory is found in the first, and sometimes the second."""
LEAST, MOST = 3, 200
"""Repetitions that are measured, beyond the warm ones; of slow ones after ``PATIENCE`` a single one."""
PATIENCE = 15.0
"""Seconds after which one measured repetition must do."""


def paced(sync: Callable[[], None], step: Callable[[], Any], seconds: float, least: int = LEAST) -> list[float]:
    """Repeat a step for some seconds, within bounds; what each repetition took, until ``sync`` has seen its end."""
    found: list[float] = []
    start = now = time.perf_counter()
    while len(found) < (min(least, WARM + 1) if now - start > PATIENCE else least) or (
        now - start < seconds and len(found) < MOST
    ):
        began = time.perf_counter()
        step()
        sync()
        now = time.perf_counter()
        found.append(now - began)
    return found


def steady(seconds: list[float], start: float, parts: int = 1) -> Loop:
    """The steady pace of repetitions, each of so many equal parts, and what the start and the warm ones took beyond."""
    pace = Timing.of([s / parts for s in seconds[min(WARM, len(seconds) - 1) :]])
    warm = sum(seconds[:WARM]) - WARM * parts * pace.median
    return Loop(pace, start + max(0.0, warm))
