"""An elastic pool of actors that works through a queue of units.

The driver hands a unit to whoever is free, so stragglers and new nodes need no re-partition. A unit whose actor dies
goes back to the queue. Units must be idempotent: one may run twice.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray.exceptions import RayActorError, RayError

from raydc.engine.failures import last_words, root_cause
from raydc.engine.pool.committing import Committing
from raydc.engine.pool.crew import TAIL_SECONDS, Commit, Crew, Worker
from raydc.engine.pool.losses import Losses
from raydc.engine.pool.pace import Pace
from raydc.engine.pool.tail import expect
from raydc.errors import ClusterError, RaydcError, StorageError


class Unit(Protocol):
    """Something with a name."""

    @property
    def id(self) -> str:
        """A name that is unique in the queue."""


U = TypeVar("U", bound=Unit)

LINGER_SECONDS = (15 * TAIL_SECONDS, 2 * TAIL_SECONDS)
"""How long an idle actor waits for something to copy: while it is not known how far units are, and once it is."""


@dataclass
class Outcome(Generic[U]):
    """Units that failed for good, with their last error."""

    failed: dict[str, BaseException] = field(default_factory=dict)


class Pool(Generic[U]):
    """Runs units on actors that have ``hello() -> node id``, ``run(unit)``, ``preempt()`` and ``progress()``, and
    ``committed(unit)`` if they ever answer with :class:`Committing`.

    ``run`` returns a receipt, or None if it was preempted; the unit then goes to the front of the queue. That costs it
    no attempt, nor does the loss of its node. Where it returns ``Committing``, the actor gets its next unit while
    ``committed`` waits for the receipt. ``progress`` tells the fraction of the unit in flight that is done.
    What an actor sets up and may refuse belongs into ``hello``: Ray passes on the exception of a constructor as text
    only, so no error of ours is recognised in it.

    Args:
        make: starts an actor; takes the ids of nodes that it must not be put on.
        size: actors at most.
        max_attempts: how often a failing unit is tried.
        on_done: takes a unit and its receipt, once for each unit.
        emit: takes events.
        speculate: whether idle actors copy units of slower ones when the queue is empty.
        end: ends an actor at once.
    """

    def __init__(
        self,
        make: Callable[[frozenset[str]], Any],
        size: int,
        max_attempts: int,
        on_done: Callable[[U, Any], None],
        emit: Callable[..., None],
        speculate: bool = False,
        end: Callable[[Any], None] = ray.kill,
    ) -> None:
        self.size, self.max_attempts, self.on_done, self.emit = size, max_attempts, on_done, emit
        self.speculate = speculate
        self.crew = Crew(make, end, emit)
        self.todo: collections.deque[U] = collections.deque()
        self.attempts: collections.Counter[str] = collections.Counter()
        self.losses: Losses[U] = Losses()
        self.usual = Pace()
        """Of a unit, over all actors."""
        self.copied: set[str] = set()
        """Units that two actors have in hand, or have made."""
        self.outcome: Outcome[U] = Outcome()

    def run(self, units: Sequence[U]) -> Outcome[U]:
        """Work through the units; returns when each is done or has failed ``max_attempts`` times."""
        self.todo.extend(units)
        crew = self.crew
        try:
            while self.todo or crew.busy or crew.committing or self.losses.waiting():
                crew.resize(min(self.size, len(self.todo) + len(crew.busy)))
                self._dispatch()
                for ref in crew.ended():
                    if ref in crew.busy:  # not so if a copy of its unit has just won
                        self._made(crew.busy.pop(ref), ref)
                    elif ref in crew.committing:
                        self._committed(crew.committing.pop(ref), ref)
                if crew.watch(last=self._last_round()):
                    self._judge_losses()
        finally:
            crew.close()
        return self.outcome

    def _dispatch(self) -> None:
        """Hand out units; in the last round also copies of them; then give idle actors back so that nodes can leave."""
        crew = self.crew
        last, avoided = self._last_round(), crew.nodes.avoided()
        idle, crew.idle = crew.idle, []
        for n, worker in enumerate(idle):
            if worker.draining or worker.node in avoided:
                crew.let_go(worker)
            elif last and self._copied_or_kept(worker, idle[n + 1 :]):
                continue
            elif self.todo:
                unit = self.todo.popleft()
                self.attempts[unit.id] += 1
                crew.hand(worker, unit)
            elif crew.commits(worker):  # what it commits may have to be tried again, and it is there
                crew.idle.append(worker)
            else:
                crew.let_go(worker)
        crew.show()

    def _last_round(self) -> bool:
        """Whether it matters who takes which unit: fewer wait than there are actors, of which something is known."""
        alive = len(self.crew.busy) + len(self.crew.idle)
        return self.speculate and len(self.todo) < alive and self.usual.usual is not None

    def _copied_or_kept(self, worker: Worker, others: list[Worker]) -> bool:
        """Give an actor a copy of a unit, or keep it idle; False if it is to take what waits, or to go."""
        crew, now = self.crew, time.monotonic()
        alone = [w for w in crew.busy.values() if w.unit.id not in self.copied]
        free = [w.pace for w in (worker, *others, *crew.idle)]
        busy = [w.pace for w in crew.busy.values()]
        tail = expect(len(self.todo), free, busy, [w.pace for w in alone], self.usual.usual or 0.0, now)
        late = tail.straggler(worker.pace)
        if late is not None:
            unit = alone[late].unit
            self.copied.add(unit.id)
            self.emit("unit_copied", unit=unit.id, node=worker.node)
            crew.hand(worker, unit)
            return True
        idle = now - worker.idle_since
        keep = tail.too_slow(worker.pace) if self.todo else idle < LINGER_SECONDS[tail.known()] and bool(alone)
        if keep:
            crew.idle.append(worker)
        return keep

    def _made(self, worker: Worker, ref: Any) -> None:
        """An actor has come to the end of its unit, or the unit to that of its actor."""
        crew, unit, where = self.crew, worker.unit, worker.described()
        try:
            receipt = ray.get(ref)
        except RayError as error:
            self._broke(worker, unit, error, where, running=True)
            return
        if receipt is None:
            crew.let_go(worker)
            if not self._taken_over(unit):
                self._handed_back(unit, where)
            return
        now = time.monotonic()
        worker.pace.end(now)
        self.usual.note(now - worker.pace.began)
        if isinstance(receipt, Committing):
            crew.commit(worker)
        else:
            self._done(worker, unit, receipt)
        crew.rest(worker)

    def _committed(self, made: Commit, ref: Any) -> None:
        try:
            receipt = ray.get(ref)
        except RayError as error:
            self._broke(made.worker, made.unit, error, made.where, running=False)
        else:
            self._done(made.worker, made.unit, receipt)
        self.crew.part(made.worker)

    def _done(self, worker: Worker, unit: U, receipt: Any) -> None:
        self.crew.nodes.worked(worker.node)
        if unit.id in self.copied:
            self._outrun(unit)
        del self.attempts[unit.id]
        self.on_done(unit, receipt)

    def _outrun(self, unit: U) -> None:
        """End those that still make or commit a unit that is done."""
        crew = self.crew
        for twin in [w for w in crew.busy.values() if w.unit.id == unit.id]:
            self.emit("unit_outrun", unit=unit.id, **twin.described())
            crew.let_go(twin)
        for ref, made in [item for item in crew.committing.items() if item[1].unit.id == unit.id]:
            self.emit("unit_outrun", unit=unit.id, **made.where)
            del crew.committing[ref]
            crew.part(made.worker)
        self.copied.discard(unit.id)

    def _taken_over(self, unit: U) -> bool:
        """Whether a unit that an actor has lost is in hand, or made, elsewhere. It is then no longer a copy."""
        self.copied.discard(unit.id)
        made = [made.unit for made in self.crew.committing.values()]
        return any(other.id == unit.id for other in (*made, *(worker.unit for worker in self.crew.busy.values())))

    def _handed_back(self, unit: U, where: dict[str, Any]) -> None:
        self.emit("unit_handed_back", unit=unit.id, **where)
        self.attempts[unit.id] -= 1
        self.todo.appendleft(unit)

    def _broke(self, worker: Worker, unit: U, error: RayError, where: dict[str, Any], running: bool) -> None:
        """A unit failed on an actor, or the actor with it. Where a copy of the unit runs, that one decides.

        Args:
            worker: the actor.
            unit: what it was making, or committing.
            error: as Ray has it.
            where: who made the unit, and for how long.
            running: whether it was making it; it is then without a unit.
        """
        cause, copied = root_cause(error), self._taken_over(unit)
        if isinstance(cause, RaydcError) and not isinstance(cause, ClusterError):
            if copied:
                self.copied.add(unit.id)  # once is enough
            elif isinstance(cause, StorageError):
                self._again(unit, cause, where)
            else:  # it is about the input, and will not get better
                self._gave_up(unit, cause, where)
            if running:
                self.crew.rest(worker)
            return
        # Dead; or unreachable, still holding its device; or alive with a device in a state that no later unit would
        # survive (CUDA's errors stay). None of them may take another unit; one that it has in hand speaks for itself.
        worker.parting = True
        if running or worker in self.crew.idle:
            self.crew.let_go(worker)
        dead = isinstance(error, RayActorError)
        if not dead:
            self.crew.spoiled(worker.node, cause)
        if copied:
            return
        if dead:
            self._lost(worker, unit, cause, where, running)
        else:
            self._again(unit, cause, where)

    def _again(self, unit: U, cause: BaseException, where: dict[str, Any]) -> None:
        """Put a unit that failed back into the queue, if it has an attempt left."""
        if self.attempts[unit.id] >= self.max_attempts:
            self._gave_up(unit, cause, where)
        else:
            self._retried(unit, cause, where)
            self.todo.append(unit)

    def _lost(self, worker: Worker, unit: U, cause: BaseException, where: dict[str, Any], running: bool) -> None:
        """The actor died. The unit may have killed it, or its node took it along: that shows within seconds.

        A unit that was being committed goes to the end of the queue: beside the one that killed the actor it would be
        lost again.
        """
        last = self.attempts[unit.id] >= self.max_attempts
        self._retried(unit, cause, where)
        if worker.draining:
            self.attempts[unit.id] -= 1
        else:
            self.losses.add(unit, worker.node, cause, last)
        if worker.draining or not last:
            (self.todo.appendleft if running else self.todo.append)(unit)

    def _judge_losses(self) -> None:
        """Give units of dead nodes their attempt back; end those that have killed their last actor."""
        innocent, guilty = self.losses.judge(self.crew.nodes.alive)
        for loss in innocent:
            self.attempts[loss.unit.id] -= 1
            if loss.last:
                self.todo.appendleft(loss.unit)
        for loss in guilty:
            self.crew.spoiled(loss.node, loss.error)
            if loss.last and self.attempts[loss.unit.id] < self.max_attempts:  # another loss was its node's
                self.todo.append(loss.unit)
            elif loss.last:
                self._gave_up(loss.unit, loss.error, {"node": loss.node})

    def _retried(self, unit: U, cause: BaseException, where: dict[str, Any]) -> None:
        self.emit("unit_retried", unit=unit.id, attempt=self.attempts[unit.id], error=_said(cause), **where)

    def _gave_up(self, unit: U, cause: BaseException, where: dict[str, Any]) -> None:
        self.outcome.failed[unit.id] = cause
        self.emit("unit_failed", unit=unit.id, attempt=self.attempts[unit.id], error=_said(cause), **where)


def _said(cause: BaseException) -> str:
    return f"{type(cause).__name__}: {last_words(cause)}"
