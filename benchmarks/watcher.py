"""The memory of this process over time, as another process sees it, so that looking costs this one nothing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import ray


class Watcher:
    """An actor that looks at a process again and again."""

    def __init__(self, pid: int, seconds: float) -> None:
        self.process, self.seconds, self.stop = psutil.Process(pid), seconds, threading.Event()
        self.samples: list[dict[str, float]] = []
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while not self.stop.wait(self.seconds):
            info = self.process.memory_full_info()
            self.samples.append({"t": time.time(), "rss": info.rss, "uss": info.uss, "pss": info.pss})

    def ready(self) -> None:
        """Answer once it looks."""

    def result(self) -> list[dict[str, float]]:
        """Everything seen: times on the machine's clock, bytes."""
        self.stop.set()
        self.thread.join()
        return self.samples


@contextmanager
def watching(seconds: float) -> Iterator[list[dict[str, float]]]:
    """Watch this process while the body runs; the list is filled at the end."""
    watcher = ray.remote(Watcher).options(num_cpus=0).remote(os.getpid(), seconds)
    ray.get(watcher.ready.remote())
    samples: list[dict[str, float]] = []
    try:
        yield samples
    finally:
        samples += ray.get(watcher.result.remote())
