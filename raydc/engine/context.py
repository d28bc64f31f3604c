"""What a worker was doing when something failed: every error that leaves it says run, unit, classes, step and config.

An error of ours keeps its type, and so its exit code and what the pool does about it. Anything else (a device, a
library, no memory) becomes a :class:`UnitError`, for it says nothing about the input and leaves the worker in a state
that nobody knows.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from raydc.config import dump
from raydc.config.lines import line_of
from raydc.engine.failures import last_words, root_cause
from raydc.engine.run import Run
from raydc.errors import ClusterError, RaydcError
from raydc.store.faults import clean

MOST_CLASSES = 5
"""Classes that a message names; a block may hold a hundred."""
PACKAGE = Path(__file__).parents[1]


class UnitError(ClusterError):
    """A unit failed for a reason that is not its input: a fresh worker may do better.

    Its only argument is its message: an exception with others does not survive the way from a worker to the driver.
    """


@contextmanager
def working_on(
    run: Run, what: str, path: str, classes: Sequence[str | int] = (), at: Callable[[], str] = lambda: ""
) -> Iterator[None]:
    """Say in any exception of the body what it was working on.

    Args:
        run: the run.
        what: the unit, as in ``block i00000-c00000 of condensed``.
        path: the section or value of the config that asked for it, as in ``synthesize``.
        classes: of the unit, by name or index.
        at: how far it was, as in ``step 37 of 1000``; asked only when something fails.

    Raises:
        RaydcError: the body's own, of the same type.
        UnitError: anything else that the body raised, which is its cause.
    """
    try:
        yield
    except Exception as error:
        where, cause = _where(run, what, path, classes, at), root_cause(error)
        if not isinstance(cause, RaydcError):
            raise UnitError(f"{where}: {type(cause).__name__}{_code(error)}: {clean(last_words(cause))}") from error
        cause.args = (f"{where}: {cause}",)
        if cause is error:
            raise
        raise cause from error


def config_line(run: Run, path: str) -> str:
    """Where the run's own config says something, as ``RUN/run.yaml:52 (synthesize)``.

    What lies in the run folder is the dumped config, so its lines are known without reading it.
    """
    line = line_of(dump(run.config), path)
    return f"{clean(run.url)}/run.yaml{'' if line is None else f':{line}'} ({path})"


def _where(run: Run, what: str, path: str, classes: Sequence[str | int], at: Callable[[], str]) -> str:
    named = list(dict.fromkeys(classes))
    more = f" and {len(named) - MOST_CLASSES} more" if len(named) > MOST_CLASSES else ""
    listed = f"classes {', '.join(map(str, named[:MOST_CLASSES]))}{more}" if named else ""
    parts = [f"run {run.config.name}", what, listed, at(), config_line(run, path)]
    return ", ".join(part for part in parts if part)


def _code(error: BaseException) -> str:
    """Where in the code an exception came from: the last line of ours that it passed, or else the last."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)][1:]
    last = (ours or frames)[-1]
    return f" at {Path(last.filename).name}:{last.lineno}"
