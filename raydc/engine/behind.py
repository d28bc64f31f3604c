"""Work that follows another's: done in one thread beside it, in order, at most one piece behind."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class Behind:
    """Takes calls; each is done when the next one is taken or the body is left, and what it raised is raised there."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def __enter__(self) -> Behind:
        return self

    def do(self, call: Callable[[], None]) -> None:
        """Begin a call, after the one before it has ended.

        Raises:
            Exception: whatever the one before it raised.
        """
        self._wait()
        self._last = self._thread.submit(call)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self._wait()
        finally:
            self._thread.shutdown()
