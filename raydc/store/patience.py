"""Asking again: a storage that is away for a while is asked ever more rarely until it answers or patience is over."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from raydc.errors import StorageError
from raydc.store.faults import told

FIRST_S = 0.25
"""Pause after the first failure; it doubles with each one."""
LONGEST_S = 15.0
"""Longest pause: what a worker may lose after the storage has come back."""
SAY_AFTER_S = 10.0
"""A blip passes in silence; what lasts longer is worth a line in the log, once for each operation."""
READING_S = 300.0
"""Patience with real data and published data sets once they were opened: they have no run that could say it."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


def patiently(work: Callable[[], _T], action: str, url: str, patience: float = 0.0, size: int | None = None) -> _T:
    """Do something with a storage; what fails for a transient reason is done again, so it must be harmless to repeat.

    Args:
        work: what to do.
        action: its name in a message, such as ``"read"``.
        url: of the file or folder.
        patience: seconds after which no further try begins; 0 = try once.
        size: bytes that are to be written, where the action is a write.

    Raises:
        StorageError: it failed for a transient reason for all that time.
        DataError: it failed for a reason that will not pass by itself.
    """
    began, tries, said = time.monotonic(), 0, False
    while True:
        tries += 1
        try:
            with told(action, url, size):
                return work()
        except StorageError as error:
            waited = time.monotonic() - began
            if waited >= patience:
                if tries == 1:
                    raise
                raise StorageError(
                    f"{error}. It was tried {tries} times in {waited:.0f} s; finished work is kept, and the same "
                    "command goes on from there once the storage answers"
                ) from error.__cause__
            if waited > SAY_AFTER_S and not said:
                _log.warning("%s. Trying again for %.0f s", error, patience - waited)
                said = True
        time.sleep(min(pause(url, tries), max(0.0, began + patience - time.monotonic())))


def pause(url: str, failures: int) -> float:
    """Seconds to wait after so many failures in a row: exponential, and apart from what every other worker waits."""
    who = f"{socket.gethostname()} {os.getpid()} {threading.get_ident()} {url} {failures}"
    share = int.from_bytes(hashlib.blake2b(who.encode(), digest_size=4).digest(), "big") / 2**32
    return float(min(LONGEST_S, FIRST_S * 2 ** min(failures - 1, 32)) * (0.5 + 0.5 * share))
