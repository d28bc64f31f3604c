"""The actors that a pool works with: what they share, and units sent through a pool of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray

from raydc.config.stages.engine import EngineConfig
from raydc.engine.capacity import options
from raydc.engine.device import device
from raydc.engine.pool import Pool, Unit
from raydc.engine.run import Run
from raydc.errors import ClusterError, DataError, RaydcError
from raydc.report.units import many
from raydc.sources.base import Source

U = TypeVar("U", bound=Unit)


class Worker:
    """An actor of a pool; what is dear to make is made with the first unit."""

    def __init__(self, run: Run, source: list[Any]) -> None:
        self.job, self.source_ref = run, source
        self.source: Source | None = None
        self.leaving = threading.Event()

    def hello(self) -> str:
        """Open the device, fetch the real data's index, and say which node this actor lives on."""
        device(self.job.config.engine)  # a broken one is the node's failure, not that of its first unit
        self.source = ray.get(self.source_ref[0]) if self.source_ref else None
        return ray.get_runtime_context().get_node_id()

    def preempt(self) -> None:
        """Ask for the unit in flight to be handed back as soon as that loses nothing."""
        self.leaving.set()


def through(
    actor: type,
    arguments: tuple[Any, ...],
    todo: Sequence[U],
    engine: EngineConfig,
    emit: Callable[..., None],
    noun: str,
) -> None:
    """Send units through as many actors as the engine may have.

    Args:
        actor: a :class:`Worker` that has what a :class:`~raydc.engine.pool.Pool` asks for besides.
        arguments: of its constructor.
        todo: the units.
        engine: what an actor asks for.
        emit: takes events.
        noun: what a unit is called, as in ``block``.

    Raises:
        DataError, ClusterError: some units failed for good; the others are done.
    """
    # Several methods at a time: a notice of preemption gets in while a unit computes and others are committed.
    made: Any = ray.remote(actor)
    held = {"max_restarts": 0, "max_concurrency": 4}
    pool: Pool[U] = Pool(
        lambda avoid: made.options(**held, **options(engine, avoid)).remote(*arguments),
        engine.workers,
        engine.max_attempts,
        on_done=lambda unit, receipt: emit("unit_done", unit=unit.id, **receipt),
        emit=emit,
        speculate=engine.speculate,
    )
    failed = pool.run(todo).failed
    if failed:
        name, cause = next(iter(failed.items()))
        said = str(cause) if isinstance(cause, RaydcError) else f"{noun} {name}: {type(cause).__name__}: {cause}"
        kind = DataError if all(isinstance(c, DataError) for c in failed.values()) else ClusterError
        raise kind(f"{len(failed)} of {len(todo)} {many(noun)} failed, the others are done. First: {said}")
