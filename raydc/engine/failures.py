"""What failed on a worker, without Ray's wrapping: errors of ours as they were raised, all else as the cluster's."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import RayError

from raydc.errors import ClusterError, RaydcError


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
    if isinstance(error.__cause__, RaydcError):
        return error.__cause__
    return error


def last_words(error: BaseException) -> str:
    """What an error says, in one line; of an actor whose constructor failed, the exception at the end of its trace."""
    lines = str(error).strip().splitlines() or [""]
    return " ".join(lines[-1].split() if getattr(error, "actor_init_failed", False) else str(error).split())
