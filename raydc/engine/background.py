"""Something small done again and again beside the driver, while Ray Data or Ray Train holds its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(call: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call every few seconds in another thread, and a last time at the end."""
    stop = threading.Event()

    def loop() -> None:
        last = False
        while not last:
            last = stop.wait(seconds)
            call()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
