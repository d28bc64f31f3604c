"""A Ray Data pipeline of actors over descriptors of work: each unit is committed by the actor that did it.

A row says what is to be done, and comes back with what became of it: ``error``, the text of a DataError or nothing,
and ``again``, whether the storage was away. Ray Data would hand on the text of an exception alone, inside a traceback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from raydc.config.stages.engine import EngineConfig
from raydc.engine.capacity import for_data
from raydc.engine.failures import last_words, root_cause
from raydc.errors import ClusterError, DataError, RaydcError, StorageError

Batch = dict[str, np.ndarray]


def told(batch: Batch, work: Callable[[dict[str, Any]], None]) -> Batch:
    """Do the work of each row of a batch, in an actor, and say what became of it."""
    said, again = [], []
    for values in zip(*batch.values(), strict=True):
        error = None
        try:
            work({name: _plain(value) for name, value in zip(batch, values, strict=True)})
        except DataError as raised:
            error = raised
        said.append(str(error or ""))
        again.append(isinstance(error, StorageError))
    return {"error": np.array(said), "again": np.array(again)}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def patient() -> ray.data.DataContext:
    """Have Ray Data wait for nodes and keep its plans to itself; its context, for more."""
    context = ray.data.DataContext.get_current()
    # A spot drought or one long unit must not fail the job: without this Ray Data gives up after 30 quiet minutes.
    context.execution_no_progress_timeout_s = -1
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # errors arrive as exceptions
    return context


def through(
    rows: list[dict[str, Any]],
    actor: type,
    arguments: tuple[Any, ...],
    engine: EngineConfig,
    emit: Callable[..., None],
    doing: str,
    failing: str,
) -> None:
    """Send rows through as many actors as the engine may have.

    Args:
        rows: of numbers and words, the same names in each.
        actor: a class whose instances map batches by :func:`told`.
        arguments: of its constructor.
        engine: what a worker asks for.
        emit: takes events.
        doing: what is done, as in ``labelling``.
        failing: what is said of rows that were not, as in ``shards could not be labelled``.

    Raises:
        DataError: of some rows; the others are done. StorageError where to try again may help.
        ClusterError: the pipeline failed.
    """
    from ray.data.exceptions import SystemException

    patient()
    actors = max(1, min(engine.workers, len(rows)))
    emit("workers", count=actors)
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors, max_tasks_in_flight_per_actor=1)
    pipeline = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        actor, fn_constructor_args=arguments, batch_size=1, **for_data(engine), compute=pool
    )
    try:
        done = pipeline.take_all()
    except (RayError, SystemException) as error:
        cause = root_cause(error)
        if isinstance(cause, RaydcError):
            raise cause from None
        raise ClusterError(f"{doing} failed: {type(cause).__name__}: {last_words(cause)}") from error
    failed = [row for row in done if row["error"]]
    if failed:
        kind = StorageError if any(row["again"] for row in failed) else DataError
        raise kind(f"{len(failed)} of {len(rows)} {failing}, the others are done. First: {failed[0]['error']}")
