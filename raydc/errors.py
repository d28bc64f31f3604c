"""What can go wrong, by whose hand: every error that a user can mend is one of these, with its exit code.

A message says what was found, what was expected and what to do. The command line prints it without a traceback.
"""

from __future__ import annotations


class RaydcError(Exception):
    """Base of the errors that the command line reports without a traceback."""

    exit_code = 1


class ConfigError(RaydcError):
    """Bad usage or configuration: nothing was started, nothing was written."""

    exit_code = 2


class DataError(RaydcError):
    """Bad data: an image, tar, class list, checkpoint, manifest or URL that is not what it should be."""

    exit_code = 3


class StorageError(DataError):
    """A storage that did not answer for longer than the run is patient: to try again later may help."""


class Diverged(DataError):
    """A training whose loss is no longer a number: another learning rate may do better."""


class ClusterError(RaydcError):
    """The cluster failed: units of work that kept failing, or no machine to run them on. The run can be resumed."""

    exit_code = 4


INTERRUPTED = 130
"""Exit code of a run that was stopped by a signal and can be resumed by the same command."""


def nearest(word: str, known: list[str]) -> str:
    """Return ``", did you mean 'x'?"`` for the known word nearest to ``word``, or an empty string."""
    import difflib

    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f", did you mean '{found[0]}'?" if found else ""
