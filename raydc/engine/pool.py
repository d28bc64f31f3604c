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
from ray.exceptions import RayActorError, RayTaskError

from raydc.engine.cluster import draining_nodes
from raydc.errors import ClusterError, RaydcError


class Unit(Protocol):
    """Something with a name."""

    @property
    def id(self) -> str:
        """A name that is unique in the queue."""


U = TypeVar("U", bound=Unit)

BOOT_FAILURES = 3
"""Actors that may fail to start, one after another, before the pool gives up: a broken image would respawn for ever."""
POLL_SECONDS = 1.0


@dataclass
class Worker:
    """An actor of the pool and what it is doing."""

    actor: Any
    node: str = ""
    unit: Any = None
    draining: bool = False


@dataclass
class Outcome(Generic[U]):
    """Units that failed for good, with their last error."""

    failed: dict[str, BaseException] = field(default_factory=dict)


class Pool(Generic[U]):
    """Runs units on actors that have ``hello() -> node id``, ``run(unit) -> receipt or None`` and ``preempt()``.

    ``run`` returns None if it was preempted; the unit then goes to the front of the queue and costs no attempt.
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
        finally:
            for worker in [*self.booting.values(), *self.busy.values(), *self.idle]:
                ray.kill(worker.actor)
        return self.outcome

    def _resize(self) -> None:
        """Ask for actors while there is work for them; give idle ones back at the tail so that nodes can leave."""
        wanted = min(self.size, len(self.todo) + len(self.busy))
        alive = len(self.busy) + len(self.idle)
        for ref in list(self.booting)[: max(0, alive + len(self.booting) - wanted)]:
            ray.kill(self.booting.pop(ref).actor)
        for _ in range(wanted - alive - len(self.booting)):
            actor = self.make()
            self.booting[actor.hello.remote()] = Worker(actor)

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
        except (RayActorError, RayTaskError) as error:
            ray.kill(worker.actor)
            self.boot_failures += 1
            cause = root_cause(error)
            if isinstance(cause, RaydcError):
                raise cause from None
            if self.boot_failures >= BOOT_FAILURES:
                said = f"{BOOT_FAILURES} workers in a row failed to start; the last one said: {cause}"
                raise ClusterError(said) from error
            return
        self.boot_failures = 0
        self.idle.append(worker)

    def _finished(self, ref: Any) -> None:
        worker = self.busy.pop(ref)
        unit, worker.unit = worker.unit, None
        try:
            receipt = ray.get(ref)
        except RayActorError as error:
            ray.kill(worker.actor)  # it may be alive but unreachable, still holding its device
            self._failed(unit, error)
            return
        except RayTaskError as error:
            self.idle.append(worker)
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
            self.emit("unit_retried", unit=unit.id, attempt=attempt, error=f"{type(cause).__name__}: {cause}")
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


def root_cause(error: BaseException) -> BaseException:
    """The exception that a worker raised, without Ray's wrapping."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return root_cause(cause)
    if isinstance(error.__cause__, RaydcError):
        return error.__cause__
    return error
