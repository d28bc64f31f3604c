"""Toy actors and units for the pool: what they do is logged as files, so that a test sees it across processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import ray

from raydc.engine.pool import Committing
from raydc.errors import DataError, StorageError


@dataclass(frozen=True)
class Unit:
    """A unit that misbehaves in its first ``times`` attempts, while it is made or while it is committed."""

    id: str
    does: str = "work"
    commits: str = ""
    """What happens where it is committed beside the next unit; "": it is not."""
    times: int = 99
    seconds: float = 0.0


@dataclass(frozen=True)
class Log:
    """A folder that all processes write to."""

    folder: str

    def add(self, what: str, said: str) -> int:
        """Log something; how often it has been logged, this time included."""
        whole = Path(self.folder, f".{what}-{os.getpid()}-{threading.get_ident()}")
        whole.write_text(said)
        for n in range(1, 1000):
            with suppress(FileExistsError):
                os.link(whole, Path(self.folder, f"{what}.{n}"))  # it is there at once, with all that is said
                return n
        raise RuntimeError(f"{what} happens again and again")

    def wait(self, what: str, times: int, seconds: float = 60) -> None:
        """Wait until something has been logged as often as that."""
        end = time.monotonic() + seconds
        while len(self.of(what)) < times:
            if time.monotonic() > end:
                raise TimeoutError(f"waited in vain for {times} times '{what}'")
            time.sleep(0.01)

    def of(self, what: str) -> list[str]:
        """What was said of something, in order."""
        found = sorted(Path(self.folder).glob(f"{what}.*"), key=lambda p: int(p.suffix[1:]))
        return [p.read_text() for p in found]


def die() -> None:
    """Die without a word."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


class Toy:
    """An actor of the pool; ``boot`` says what goes wrong in which starts."""

    def __init__(self, log: Log, boot: str = "", first: int = 1, last: int = 0) -> None:
        self.log, self.leaving = log, Event()
        self.far = 0.25
        self.boot = boot if first <= log.add("boot", str(os.getpid())) <= last else ""
        if self.boot == "raise":
            raise RuntimeError("no such library")
        if self.boot == "die":
            die()

    def hello(self) -> str:
        if self.boot == "refuse":
            raise DataError("the class list is empty")
        return ray.get_runtime_context().get_node_id()

    def preempt(self) -> None:
        self.leaving.set()

    def progress(self) -> float:
        return self.far

    def run(self, unit: Unit) -> str | Committing | None:
        misbehaves = self.log.add(unit.id, str(os.getpid())) <= unit.times
        if unit.does == "work":
            time.sleep(unit.seconds)
        elif misbehaves:
            if unit.does == "refuse":
                raise DataError("an image is broken")
            if unit.does == "lose storage":
                raise StorageError("the bucket does not answer")
            if unit.does == "creep":
                for n in range(100):
                    self.far = n / 1000
                    time.sleep(0.3)
            if unit.does == "fail there":
                if ray.get_runtime_context().get_node_id() in self.log.of("broken"):
                    raise RuntimeError("the device is broken")
                time.sleep(0.2)
            if unit.does == "raise":
                raise RuntimeError("kaput")
            if unit.does == "die":
                die()
            if unit.does == "hand back":
                return None
            if unit.does == "wait for a notice":
                return None if self.leaving.wait(60) else "no notice came"
            if unit.does == "wait for a word":
                self.log.wait("word", 1)
        return Committing() if unit.commits else f"{unit.id} is done"

    def committed(self, unit: Unit) -> str:
        if self.log.add(f"{unit.id}-commit", str(os.getpid())) <= unit.times:
            match unit.commits:
                case "after the next":
                    self.log.wait("next", 1)
                case "wake the other":
                    self.log.add("word", "")
                    time.sleep(5.0)
                case "slow":
                    time.sleep(1.0)
                case "lose storage":
                    raise StorageError("the bucket does not answer")
                case "refuse":
                    raise DataError("the objective is not finite")
                case "raise":
                    raise RuntimeError("kaput")
                case "die":
                    self.log.wait("next", 1)
                    die()
        return f"{unit.id} is done"
