"""What failed on a worker, without Ray's wrapping: errors of ours as they were raised, all else as the cluster's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError

from raydc.errors import ClusterError, RaydcError, StorageError

PAUSE_SECONDS = 2.0
"""Before work is taken up again, doubled each time: a cluster that has lost nodes needs a moment to know it."""


def wait(tasks: list[Any]) -> list[Any]:
    """The results of remote tasks.

    Raises:
        RaydcError: what a task raised about its input.
        ClusterError: anything else: a lost worker or node, no memory, a defect.
    """
    try:
        return list(ray.get(tasks))
    except RayError as error:
        cause = root_cause(error)
        if isinstance(cause, RaydcError):
            raise cause from None
        raise ClusterError(f"a worker failed: {type(cause).__name__}: {last_words(cause)}") from error


def root_cause(error: BaseException) -> BaseException:
    """The exception that a worker raised, without Ray's wrapping."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return root_cause(cause)
    if isinstance(error, RaydcError):
        return error
    if isinstance(error.__cause__, RaydcError):
        return error.__cause__
    return error


def last_words(error: BaseException) -> str:
    """What an error says, in one line; of an actor whose constructor failed, the exception at the end of its trace."""
    lines = str(error).strip().splitlines() or [""]
    return " ".join(lines[-1].split() if getattr(error, "actor_init_failed", False) else str(error).split())


def persist(
    work: Callable[[], None], progress: Callable[[], Any], attempts: int, emit: Callable[..., None], unit: str
) -> None:
    """Take work up again after failures of the cluster or the storage, for as long as it gets on between them.

    Args:
        work: does what is not yet done.
        progress: something that changes whenever work is committed.
        attempts: failures in a row, without progress, that end it.
        emit: takes events.
        unit: what the work is called in them.

    Raises:
        RaydcError: what the work raised last.
    """
    failed, before = 0, progress()
    while True:
        try:
            return work()
        except (ClusterError, StorageError) as error:
            try:
                now = progress()
            except StorageError:  # still away
                now = before
            failed, before = (failed if now == before else 0) + 1, now
            if failed >= attempts:
                raise
            emit("unit_retried", unit=unit, attempt=failed, error=f"{type(error).__name__}: {error}")
            time.sleep(PAUSE_SECONDS * 2 ** (failed - 1))
