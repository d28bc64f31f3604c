"""How soon blocks can be done at best: a bound that no scheduler beats, and an ideal list scheduler in virtual time."""

from __future__ import annotations

import collections
import heapq
import math
from collections.abc import Sequence

from seats import Seat

from raydc.engine.pool.pace import Pace
from raydc.engine.pool.tail import Tail, horizon


def lower_bound(seats: Sequence[Seat], images: Sequence[int], seconds_per_image: float) -> float:
    """A time before which no schedule of these indivisible blocks ends, whatever it knows and however often it copies.

    For any size ``g``, count in every block the whole pieces of ``g`` images, ``floor(size / g)``. A seat that could do
    the work ``W`` until T ends whole blocks of at most ``W / seconds_per_image`` images, for it does one at a time, and
    so at most ``floor(W / (g * seconds_per_image))`` pieces. So T is at least the smallest one with
    ``sum of floor(W_j(T) / (g * s)) >= sum of floor(size_i / g)``. Taken for every size that occurs and for the
    smallest of all, where pieces cover the blocks; the bound is the largest of them. With blocks of one size it is
    attained: give each next block to the seat that would end it first.
    """
    return max(_bound(seats, [n // g for n in images], g * seconds_per_image) for g in {*images, math.gcd(*images)})


def _bound(seats: Sequence[Seat], pieces: Sequence[int], work: float) -> float:
    wanted, low, high = sum(pieces), 0.0, 1.0

    def fits(until: float) -> bool:
        return sum(math.floor(seat.work(until) / work + 1e-9) for seat in seats) >= wanted

    while not fits(high):
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def list_schedule(seats: Sequence[Seat], images: Sequence[int], seconds_per_image: float) -> float:
    """When all is done if whoever is free takes the next block at once: the pool's policy at no cost, no copies."""
    free = [(0.0, n) for n in range(len(seats))]
    last = 0.0
    for size in images:
        now, n = heapq.heappop(free)
        end = seats[n].end(now, size * seconds_per_image)
        last = max(last, end)
        heapq.heappush(free, (end, n))
    return last


class _Schedule:
    """The pool's policy in virtual time, with exact knowledge of every seat, at no cost."""

    def __init__(self, seats: Sequence[Seat], images: Sequence[int], seconds_per_image: float) -> None:
        self.seats, self.images, self.each, self.now = seats, images, seconds_per_image, 0.0
        self.todo = collections.deque(range(len(images)))
        self.idle = list(range(len(seats)))
        self.ends: list[tuple[float, int, int]] = []
        self.holders: dict[int, dict[int, float]] = collections.defaultdict(dict)
        self.usual = sum(images) / len(images) * seconds_per_image

    def run(self) -> float:
        """When all is done."""
        while True:
            self._hand_out()
            while self.ends and self.ends[0][1] not in self.holders.get(self.ends[0][2], {}):  # a copy that lost
                heapq.heappop(self.ends)
            if not self.ends:
                return self.now
            self.now, _, unit = heapq.heappop(self.ends)
            self.idle += self.holders.pop(unit)

    def _hand_out(self) -> None:
        idle, self.idle = self.idle, []
        for n in idle:
            last_round = len(self.todo) < len(self.seats)
            tail, alone = self._look([n, *self.idle]) if last_round else (None, [])
            own = Pace(self._seconds(n, 0))
            late = tail.straggler(own) if tail else None
            if late is not None:
                self._give(n, alone[late])
            elif self.todo and not (tail and tail.too_slow(own)):
                self._give(n, self.todo.popleft())
            else:
                self.idle.append(n)

    def _look(self, free: list[int]) -> tuple[Tail, list[int]]:
        alone = [unit for unit, at in self.holders.items() if len(at) == 1]
        paces = [(0.0, self._seconds(n, 0)) for n in free]
        paces += [(end - self.now, self._seconds(n, 0)) for at in self.holders.values() for n, end in at.items()]
        ends = tuple(min(self.holders[unit].values()) - self.now for unit in alone)
        return Tail(self.usual, ends, horizon(paces, len(self.todo))), alone

    def _seconds(self, n: int, unit: int) -> float:
        return self.seats[n].end(self.now, self.images[unit] * self.each) - self.now

    def _give(self, n: int, unit: int) -> None:
        self.holders[unit][n] = self.now + self._seconds(n, unit)
        heapq.heappush(self.ends, (self.holders[unit][n], n, unit))


def foreseeing_schedule(seats: Sequence[Seat], images: Sequence[int], seconds_per_image: float) -> float:
    """When all is done by the pool's policy for the last round (``engine/pool/tail.py``) if it knew every pace."""
    return _Schedule(seats, images, seconds_per_image).run()
