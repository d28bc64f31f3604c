"""How long units of work take that several workers share."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence


def makespan(units: Iterable[float], workers: int) -> float:
    """Seconds until all units are done by workers that take the next one when they are free."""
    free = [0.0] * max(1, workers)
    for seconds in units:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def dealt(units: Sequence[float], workers: int) -> float:
    """Seconds until all units are done by workers to whom they were dealt in turn beforehand."""
    return max(sum(units[rank::workers]) for rank in range(workers))
