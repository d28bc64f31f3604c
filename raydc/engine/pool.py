"""An elastic pool of actors that works through a queue of units.

The driver hands a unit to whoever is free, so stragglers and new nodes need no re-partition. Actors die with their
node and are not restarted by Ray: the unit goes back to the queue and a fresh actor is asked for, wherever there is
room; a pending actor is the autoscaler's demand. Units must be idempotent: one may run twice.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray.exceptions import RayError

from raydc.engine.cluster import draining_nodes
from raydc.engine.failures import last_words, root_cause
from raydc.errors import ClusterError, RaydcError


class Unit(Protocol):
    """Something with a name."""

    @property
    def id(self) -> str:
        """A name that is unique in the queue."""


U = TypeVar("U", bound=Unit)

BOOT_FAILURES = 3
"""Times in a row that starting may fail before the pool gives up: a broken image would respawn for ever."""
POLL_SECONDS = 1.0
LOOK_SECONDS = 10.0
"""Between two looks at how far the units in flight are."""


@dataclass
class Worker:
    """An actor of the pool and what it is doing."""

    actor: Any
    wave: int
    """How often starting had failed when this one was asked for."""
    node: str = ""
    unit: Any = None
    draining: bool = False


@dataclass
class Outcome(Generic[U]):
    """Units that failed for good, with their last error."""

    failed: dict[str, BaseException] = field(default_factory=dict)


class Pool(Generic[U]):
    """Runs units on actors that have ``hello() -> node id``, ``run(unit)``, ``preempt()`` and ``progress()``.

    ``run`` returns a receipt, or None if it was preempted; the unit then goes to the front of the queue and costs no
    attempt.
    ``progress`` tells the fraction of the unit in flight that is done.
    What an actor sets up and may refuse belongs into ``hello``: Ray passes on the exception of a constructor as text
    only, so no error of ours is recognised in it.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        size: int,
        max_attempts: int,
        on_done: Callable[[U, Any], None],
        emit: Callable[..., None],
    ) -> None:
        self.make, self.size, self.max_attempts, self.on_done, self.emit = make, size, max_attempts, on_done, emit
        self.todo: collections.deque[U] = collections.deque()
        self.attempts: collections.Counter[str] = collections.Counter()
        self.booting: dict[Any, Worker] = {}
        self.busy: dict[Any, Worker] = {}
        self.idle: list[Worker] = []
        self.boot_failures = 0
        self.outcome: Outcome[U] = Outcome()
        self.next_poll = 0.0
        self.next_look = time.monotonic() + LOOK_SECONDS
        self.asked: list[Any] = []
        self.shown = 0

    def run(self, units: Sequence[U]) -> Outcome[U]:
        """Work through the units; returns when each is done or has failed ``max_attempts`` times."""
        self.todo.extend(units)
        try:
            while self.todo or self.busy:
                self._resize()
                self._dispatch()
                waiting = [*self.busy, *self.booting]
                for ref in ray.wait(waiting, num_returns=1, timeout=POLL_SECONDS)[0]:
                    self._started(ref) if ref in self.booting else self._finished(ref)
                self._watch_nodes()
                self._watch_units()
        finally:
            for worker in [*self.booting.values(), *self.busy.values(), *self.idle]:
                ray.kill(worker.actor)
        return self.outcome

    def _resize(self) -> None:
        """Ask for actors while there is work for them; give idle ones back at the tail so that nodes can leave."""
        wanted = min(self.size, len(self.todo) + len(self.busy))
        alive = len(self.busy) + len(self.idle)
        if self.boot_failures >= BOOT_FAILURES:  # others work on: no more of what does not start
            wanted = min(wanted, max(alive, 1))
        for ref in list(self.booting)[: max(0, alive + len(self.booting) - wanted)]:
            ray.kill(self.booting.pop(ref).actor)
        for _ in range(wanted - alive - len(self.booting)):
            actor = self.make()
            self.booting[actor.hello.remote()] = Worker(actor, self.boot_failures)

    def _dispatch(self) -> None:
        idle, self.idle = self.idle, []
        for worker in idle:
            if not self.todo or worker.draining:
                ray.kill(worker.actor)
                continue
            worker.unit = self.todo.popleft()
            self.attempts[worker.unit.id] += 1
            self.busy[worker.actor.run.remote(worker.unit)] = worker
        if len(self.busy) != self.shown:
            self.shown = len(self.busy)
            self.emit("workers", count=self.shown)

    def _started(self, ref: Any) -> None:
        worker = self.booting.pop(ref)
        try:
            worker.node = ray.get(ref)
        except RayError as error:
            ray.kill(worker.actor)
            cause = root_cause(error)
            if isinstance(cause, RaydcError):
                raise cause from None
            # Those that were starting together and died together, with their node say, failed once.
            self.boot_failures = max(self.boot_failures, min(worker.wave, self.boot_failures) + 1)
            if self.boot_failures >= BOOT_FAILURES and not self.busy and not self.idle:
                said = f"{BOOT_FAILURES} times in a row workers failed to start; the last one said: {last_words(cause)}"
                raise ClusterError(said) from error
            return
        self.boot_failures = 0
        self.idle.append(worker)

    def _finished(self, ref: Any) -> None:
        worker = self.busy.pop(ref)
        unit, worker.unit = worker.unit, None
        try:
            receipt = ray.get(ref)
        except RayError as error:
            if isinstance(root_cause(error), RaydcError):
                self.idle.append(worker)
            else:
                # Dead; or unreachable, still holding its device; or alive with a device in a state that no later
                # unit would survive (CUDA's errors stay). None of them may take another unit.
                ray.kill(worker.actor)
            self._failed(unit, error)
            return
        if receipt is None:
            self.attempts[unit.id] -= 1
            self.todo.appendleft(unit)
            ray.kill(worker.actor)
        else:
            self.idle.append(worker)
            self.on_done(unit, receipt)

    def _failed(self, unit: U, error: Exception) -> None:
        attempt, cause = self.attempts[unit.id], root_cause(error)
        if attempt < self.max_attempts and not isinstance(cause, RaydcError):
            said = f"{type(cause).__name__}: {last_words(cause)}"
            self.emit("unit_retried", unit=unit.id, attempt=attempt, error=said)
            self.todo.append(unit)
        else:  # an error of ours is about the input: it will not get better by trying again
            self.outcome.failed[unit.id] = cause

    def _watch_nodes(self) -> None:
        if time.monotonic() < self.next_poll:
            return
        self.next_poll = time.monotonic() + POLL_SECONDS
        leaving = draining_nodes()
        for worker in [*self.busy.values(), *self.idle]:
            if worker.node in leaving and not worker.draining:
                worker.draining = True
                worker.actor.preempt.remote()

    def _watch_units(self) -> None:
        """Say how far the units in flight are, for a long one must not look like a dead one. Never waits."""
        if time.monotonic() < self.next_look:
            return
        self.next_look = time.monotonic() + LOOK_SECONDS
        answered = ray.wait(self.asked, num_returns=len(self.asked), timeout=0)[0] if self.asked else []
        self.asked = [worker.actor.progress.remote() for worker in self.busy.values()]
        try:
            far = ray.get(answered)
        except RayError:  # its unit says so, where it is dealt with
            return
        if far:
            self.emit("progress", text=f"{len(far)} in flight, {100 * sum(far) / len(far):.0f} % of the way")
