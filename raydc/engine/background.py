"""Something small done again and again beside the driver, while Ray Data or Ray Train holds its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from raydc.errors import RaydcError


@contextmanager
def repeating(call: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call every few seconds in another thread, and a last time in this one, at the end.

    A storage that does not answer for a moment is asked again the next time; only the last call must succeed.
    """
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(seconds):
            with suppress(RaydcError):
                call()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    call()
