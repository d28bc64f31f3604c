"""The actors of a pool: asked for, started, given units, watched, and let go.

Actors die with their node and are not restarted by Ray: a fresh one is asked for, wherever there is room; a pending
actor is the autoscaler's demand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

from raydc.engine.cluster import home
from raydc.engine.failures import last_words, root_cause
from raydc.engine.pool.nodes import Nodes
from raydc.engine.pool.pace import Pace
from raydc.errors import ClusterError, RaydcError, StorageError

BOOT_FAILURES = 3
"""Times in a row that starting may fail before the pool gives up: a broken image would respawn for ever."""
BOOT_AGAIN_SECONDS = 60.0
"""After so many failures to start, while others work: how long until one more is tried."""
POLL_SECONDS = 1.0
LOOK_SECONDS = 10.0
"""Between two looks at how far the units in flight are."""
TAIL_SECONDS = 2.0
"""The same in the last round."""


@dataclass
class Worker:
    """An actor and what it is doing."""

    actor: Any
    wave: int
    """How often starting had failed when this one was asked for."""
    avoid: frozenset[str] = frozenset()
    """The nodes that it was not to be put on."""
    node: str = ""
    unit: Any = None
    draining: bool = False
    parting: bool = False
    """It gets no more units, and ends when what it has made is committed."""
    gone: bool = False
    idle_since: float = 0.0
    pace: Pace = field(default_factory=Pace)

    def described(self) -> dict[str, Any]:
        """Who it is, where, and how long it has had its unit, as events say it."""
        number = getattr(self.actor, "_actor_id", None)
        name = number.hex()[:8] if number else ""
        return {"worker": name, "node": self.node, "seconds": time.monotonic() - self.pace.began}


@dataclass(frozen=True)
class Commit:
    """A unit that is made and not yet stored; its maker may have the next one in hand."""

    worker: Worker
    unit: Any
    where: dict[str, Any]
    """Who made it, and how long that took."""


class Crew:
    """The actors by what they wait for: to start, to finish a unit, to see it committed, for work.

    Args:
        make: starts an actor; takes the ids of nodes that it must not be put on.
        end: ends an actor at once.
        emit: takes events.
    """

    def __init__(
        self, make: Callable[[frozenset[str]], Any], end: Callable[[Any], None], emit: Callable[..., None]
    ) -> None:
        self.make, self.end, self.emit = make, end, emit
        self.nodes = Nodes()
        self.booting: dict[Any, Worker] = {}
        self.busy: dict[Any, Worker] = {}
        self.committing: dict[Any, Commit] = {}
        self.idle: list[Worker] = []
        self.boot_failures = 0
        self._boot_failed = 0.0
        self._next_poll = 0.0
        self._looked = time.monotonic()
        self._asked: dict[Any, tuple[Worker, Any, float]] = {}
        self._shown = (0, 0)

    def resize(self, wanted: int) -> None:
        """Ask for actors until there are so many, or call off those that have not started, the youngest first."""
        alive, avoid = len(self.busy) + len(self.idle), self.nodes.avoided()
        if self.boot_failures >= BOOT_FAILURES:  # others work on: one more of what does not start, now and then
            again = alive == 0 or time.monotonic() > self._boot_failed + BOOT_AGAIN_SECONDS
            wanted = min(wanted, alive + again)
        refusing = [ref for ref, worker in self.booting.items() if not worker.avoid <= avoid]
        spare = list(self.booting)[::-1][: max(0, alive + len(self.booting) - wanted)]
        for ref in {*refusing, *spare}:  # the former may wait for what they refuse, though it has another chance now
            self.end(self.booting.pop(ref).actor)
        for _ in range(wanted - alive - len(self.booting)):
            actor = self.make(avoid)
            self.booting[actor.hello.remote()] = Worker(actor, self.boot_failures, avoid)

    def hand(self, worker: Worker, unit: Any) -> None:
        """Give an actor a unit."""
        worker.unit = unit
        worker.pace.begin(time.monotonic())
        self.busy[worker.actor.run.remote(unit)] = worker

    def commit(self, worker: Worker) -> None:
        """An actor has made its unit, and commits it beside whatever it does next."""
        made = Commit(worker, worker.unit, worker.described())
        self.committing[worker.actor.committed.remote(worker.unit)] = made

    def commits(self, worker: Worker) -> bool:
        """Whether an actor still commits something."""
        return any(made.worker is worker for made in self.committing.values())

    def rest(self, worker: Worker) -> None:
        """An actor has no unit any more."""
        worker.unit, worker.idle_since = None, time.monotonic()
        if worker.parting:
            self.part(worker)
        else:
            self.idle.append(worker)

    def let_go(self, worker: Worker) -> None:
        """Forget what an actor is at, and end it as soon as what it has made is committed."""
        self.busy = {ref: w for ref, w in self.busy.items() if w is not worker}
        self.idle = [w for w in self.idle if w is not worker]
        worker.unit, worker.parting = None, True
        self.part(worker)

    def part(self, worker: Worker) -> None:
        """End an actor that is to take no more, unless it still makes or commits something."""
        if worker.parting and not worker.gone and worker.unit is None and not self.commits(worker):
            worker.gone = True
            self.end(worker.actor)

    def close(self) -> None:
        """End all actors."""
        makers = [made.worker for made in self.committing.values()]
        for worker in [*self.booting.values(), *self.busy.values(), *self.idle, *makers]:
            self.end(worker.actor)

    def ended(self) -> list[Any]:
        """Wait for a moment for something to happen; the units, made or committed, that have come to an end."""
        waiting = [*self.busy, *self.committing, *self.booting]
        if not waiting:
            time.sleep(POLL_SECONDS)
            return []
        # No longer than until the next look: a notice may leave a machine half a minute.
        until = max(0.0, self._next_poll - time.monotonic())
        if not ray.wait(waiting, num_returns=1, timeout=min(until, POLL_SECONDS))[0]:
            return []
        # All that has ended: a look at every actor costs as much as a look at one.
        ready = ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]
        for ref in ready:
            if ref in self.booting:
                self._started(ref)
        return [ref for ref in ready if ref in self.busy or ref in self.committing]

    def _started(self, ref: Any) -> None:
        worker = self.booting.pop(ref)
        try:
            worker.node = ray.get(ref)
        except RayError as error:
            cause, node = root_cause(error), home(worker.actor)
            self.end(worker.actor)
            if isinstance(cause, RaydcError) and not isinstance(cause, (ClusterError, StorageError)):
                raise cause from None
            # Those that were starting together and died together, with their node say, failed once.
            self.boot_failures = max(self.boot_failures, min(worker.wave, self.boot_failures) + 1)
            self._boot_failed = time.monotonic()
            self.spoiled(node, cause)
            if self.boot_failures >= BOOT_FAILURES and not (self.busy or self.idle or self.committing):
                said = f"{BOOT_FAILURES} times in a row workers failed to start; the last one said: {last_words(cause)}"
                raise ClusterError(said) from error
            return
        self.boot_failures = 0
        self.rest(worker)

    def spoiled(self, node: str, cause: BaseException) -> None:
        """Something failed on a node that may be the node's fault."""
        if self.nodes.failed(node):
            self.boot_failures = 0  # it was the node
            self.emit("node_avoided", node=node, error=f"{type(cause).__name__}: {last_words(cause)}")

    def watch(self, last: bool) -> bool:
        """Look at nodes and units when it is time; whether nodes were looked at. Never waits.

        Args:
            last: whether this is the last round, where it matters how far each unit is.
        """
        now = time.monotonic()
        if now >= self._looked + (TAIL_SECONDS if last else LOOK_SECONDS):
            self._looked = now
            self._look_at_units(now)
        if now < self._next_poll:
            return False
        self._next_poll = now + POLL_SECONDS
        self.nodes.look()
        for worker in [*self.busy.values(), *self.idle]:
            if worker.node in self.nodes.leaving and not worker.draining:
                worker.draining = True
                worker.actor.preempt.remote()
        return True

    def _look_at_units(self, now: float) -> None:
        """Ask how far the units in flight are, for a long one must not look like a dead one."""
        answered = ray.wait([*self._asked], num_returns=len(self._asked), timeout=0)[0] if self._asked else []
        far = []
        for ref in answered:
            worker, unit, asked = self._asked[ref]
            with suppress(RayError):  # its unit says so, where it is dealt with
                far.append(ray.get(ref))
                if worker.unit is unit:
                    worker.pace.look(asked, far[-1])
        self._asked = {w.actor.progress.remote(): (w, w.unit, now) for w in self.busy.values()}
        said = [f"{len(far)} in flight, {100 * sum(far) / len(far):.0f} % of the way"] if far else []
        said += [f"{len(self.committing)} being stored"] if self.committing else []
        if said:
            self.emit("progress", text=", ".join(said))

    def show(self) -> None:
        """Say how many are at work, where that has changed."""
        shown = len(self.busy), len({worker.node for worker in self.busy.values()})
        if shown != self._shown:
            self._shown = shown
            self.emit("workers", count=shown[0], nodes=shown[1])
