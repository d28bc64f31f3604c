"""Work that is done when its receipt exists: list, subtract, go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from raydc.store.folder import Folder

POLL_SECONDS = 1.0


def done(folder: Folder) -> set[str]:
    """The names of the units whose receipt is in the folder."""
    return {name.removesuffix(".json") for name in folder.list() if name.endswith(".json")}


@contextmanager
def watched(folder: Folder, already: set[str], on_done: Callable[[str], None]) -> Iterator[None]:
    """While Ray Data or Ray Train holds the driver, call ``on_done`` for each receipt that appears."""
    stop = threading.Event()

    def look() -> None:
        seen = set(already)
        while True:
            last = stop.wait(POLL_SECONDS)
            for name in sorted(done(folder) - seen):
                seen.add(name)
                on_done(name)
            if last:
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
