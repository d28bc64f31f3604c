"""The last round of a queue: who should still take a unit, and which unit in hand somebody else should make as well.

When fewer units wait than there are workers, the last ones decide when all is done. A slow worker that takes one of
them would end it after the others have ended everything; and a unit that lies on a worker that has turned slow may be
done sooner by another one, for the result of a unit does not depend on who makes it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from raydc.engine.pool.pace import Pace

OVERDUE = 3.0
"""Times what is usual, after which a unit without any progress is taken to hang: a first one loads a teacher."""
MARGIN = 1.1
"""A copy must promise to be done sooner by a tenth: estimates are rough, and a copy costs its worker's time."""


@dataclass(frozen=True)
class Tail:
    """What is expected of the last round. Times are in seconds from now."""

    usual: float
    """Of a unit, over all workers."""
    ends: tuple[float | None, ...]
    """When each of the units in hand that have no copy yet will be done; None where it is not known."""
    horizon: float
    """When all units that wait will be done, each by the worker that ends it first; 0 where none waits."""

    def too_slow(self, worker: Pace) -> bool:
        """Whether a free worker would end a unit only after the others have ended all that wait."""
        return (worker.usual or self.usual) > self.horizon

    def straggler(self, worker: Pace) -> int | None:
        """The unit in hand that a free worker should make too, by its place in ``ends``; None if none is worth it.

        It is the one that would be done last, if a copy begun once nothing waits any more would still overtake it.
        """
        last, place = max(((end, n) for n, end in enumerate(self.ends) if end is not None), default=(0.0, -1))
        own = worker.usual or self.usual
        late = max(2 * own, MARGIN * own + self.horizon - self.usual) if self.horizon else MARGIN * own
        return place if last > late else None

    def known(self) -> bool:
        """Whether it is known of every unit when it will be done."""
        return None not in self.ends


def expect(
    waiting: int, free: Sequence[Pace], busy: Sequence[Pace], alone: Sequence[Pace], usual: float, now: float
) -> Tail:
    """Look ahead.

    Args:
        waiting: how many units wait.
        free: of the workers without a unit.
        busy: of those with one.
        alone: of those whose unit has no copy.
        usual: seconds of a unit over all workers.
        now: the time.
    """
    paces = [(0.0, p.usual or usual) for p in free] + [(p.guess(now, usual), p.usual or usual) for p in busy]
    return Tail(usual, tuple(_end(p, usual, now) for p in alone), horizon(paces, waiting))


def _end(pace: Pace, usual: float, now: float) -> float | None:
    """When a unit will be done; guessed where it has said nothing for several times what is usual."""
    known, silent = pace.left(now), now - pace.began > OVERDUE * (pace.usual or usual)
    return pace.guess(now, usual) if known is None and silent else known


def horizon(workers: Sequence[tuple[float, float]], units: int) -> float:
    """Seconds until so many units are done, each taken by the worker that will end it first.

    Args:
        workers: (seconds until it is free, seconds that it takes for a unit).
        units: how many.
    """
    ends = [(free + pace, pace) for free, pace in workers]
    heapq.heapify(ends)
    last = 0.0
    for _ in range(units):
        last, pace = ends[0]
        heapq.heapreplace(ends, (last + pace, pace))
    return last
