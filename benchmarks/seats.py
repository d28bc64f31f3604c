"""Logical workers: many seats on a few actors, where a block takes its time and nothing else.

Hundreds of worker processes do not fit on one small machine, so a worker of the pool is a seat: its methods are real
calls over Ray, which a few asynchronous actors answer. A seat has a speed, and may become slower at some moment.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Any

import ray


@dataclass(frozen=True)
class Seat:
    """A worker's pace. Work is measured in seconds of a worker of speed 1, time from the start of the pool."""

    number: int
    speed: float
    slow_at: float = math.inf
    slower: float = 1.0
    """How many times slower it is from then on."""

    def work(self, until: float) -> float:
        """The work it could have done from the start until a time."""
        return self.speed * (min(until, self.slow_at) + max(0.0, until - self.slow_at) / self.slower)

    def end(self, begin: float, work: float) -> float:
        """When it ends some work that it begins at a time."""
        total = self.work(begin) + work
        before = self.speed * self.slow_at
        return total / self.speed if total <= before else self.slow_at + (total - before) * self.slower / self.speed


class Host:
    """An actor that keeps some of the seats, and a log of all that was done on them."""

    def __init__(self, seats: list[Seat], seconds_per_image: float) -> None:
        self.seats = {seat.number: seat for seat in seats}
        self.seconds_per_image = seconds_per_image
        self.zero = 0.0
        self.ended: dict[int, asyncio.Event] = {}
        self.at_work: dict[int, tuple[float, float]] = {}
        self.done: list[dict[str, Any]] = []

    async def warm(self, unit: Any) -> None:
        """Import what comes with a unit."""

    async def start(self, zero: float) -> None:
        """Begin to count time, from ``zero`` on the machine's clock."""
        self.zero = zero

    async def log(self) -> list[dict[str, Any]]:
        """Every attempt at a block."""
        return self.done

    async def hello(self, number: int) -> str:
        """A worker starts on a seat."""
        self.ended[number] = asyncio.Event()
        return ray.get_runtime_context().get_node_id()

    async def progress(self, number: int) -> float:
        """The fraction of the block in hand that is done."""
        begin, work = self.at_work.get(number, (0.0, math.inf))
        seat = self.seats[number]
        return min(1.0, (seat.work(time.time() - self.zero) - seat.work(begin)) / work)

    async def preempt(self, number: int) -> None:
        """Nothing here is ever told to leave."""

    async def run(self, number: int, unit: Any) -> dict[str, Any] | None:
        """Take the time of a block; a receipt as the product's workers give it."""
        seat, ended = self.seats[number], self.ended[number]
        began, work = time.time(), unit.images * self.seconds_per_image
        begin = began - self.zero
        due = seat.end(begin, work)
        self.at_work[number] = begin, work
        try:
            await asyncio.wait_for(ended.wait(), max(0.0, self.zero + due - time.time()))
        except asyncio.TimeoutError:
            whole = True
        else:
            whole = False
        now = time.time()
        row = {"seat": number, "unit": unit.id, "begin": begin, "due": due, "end": now - self.zero, "done": whole}
        self.done.append(row)
        if not whole:
            return None  # nobody asks for it any more
        steps = unit.images
        return {"began": began, "seconds": now - began, "worker": f"{number:08x}", "node": "", "image_steps": steps,
                "bytes": steps * 10_000}  # fmt: skip

    async def end(self, number: int) -> None:
        """The worker on a seat is killed."""
        self.ended[number].set()


class Call:
    """A method of an actor as the pool calls it."""

    def __init__(self, method: Any, number: int) -> None:
        self.method, self.number = method, number

    def remote(self, *arguments: Any) -> Any:
        """Call it; the reference to its answer."""
        return self.method.remote(self.number, *arguments)


class Handle:
    """A worker of the pool that is a seat of a host."""

    def __init__(self, host: Any, number: int) -> None:
        self.number = number
        self.hello, self.run = Call(host.hello, number), Call(host.run, number)
        self.preempt, self.progress = Call(host.preempt, number), Call(host.progress, number)
        self.stop = Call(host.end, number)


class Seats:
    """All seats: the pool's ``make`` and ``end``."""

    def __init__(self, seats: list[Seat], hosts: int, seconds_per_image: float) -> None:
        host = ray.remote(Host).options(num_cpus=0, max_concurrency=1000)
        self.hosts = [host.remote(seats[n::hosts], seconds_per_image) for n in range(hosts)]
        self.free = [seat.number for seat in reversed(seats)]

    def start(self, unit: Any) -> float:
        """Get ready for units like this one, and begin to count time; the begin on the machine's clock."""
        ray.get([host.warm.remote(unit) for host in self.hosts])
        zero = time.time()
        ray.get([host.start.remote(zero) for host in self.hosts])
        return zero

    def make(self, avoid: frozenset[str]) -> Handle:
        """Start a worker on a free seat; there is one node, so none to avoid."""
        number = self.free.pop()
        return Handle(self.hosts[number % len(self.hosts)], number)

    def end(self, handle: Handle) -> None:
        """End it, and free its seat."""
        handle.stop.remote()
        self.free.append(handle.number)

    def log(self) -> list[dict[str, Any]]:
        """Every attempt at a block, in order of their begins."""
        rows = [row for rows in ray.get([host.log.remote() for host in self.hosts]) for row in rows]
        return sorted(rows, key=lambda row: row["begin"])
