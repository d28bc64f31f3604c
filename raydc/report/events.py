"""The run's diary: one JSON object a line under ``events/``, and the listeners that hear each event as it happens.

Every driver writes files of its own, so a resumed run adds to the diary and never rewrites what another driver wrote.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from raydc.errors import DataError
from raydc.report.units import iso
from raydc.store.faults import clean
from raydc.store.folder import Folder

Listener = Callable[[dict[str, Any]], None]

KINDS = {
    "run_started": "run, output, versions",
    "stage_started": "stage, total, done, unit",
    "unit_done": "stage, unit, seconds, worker, image_steps",
    "unit_retried": "stage, unit, attempt, error",
    "workers": "stage, count",
    "progress": "stage, text",
    "stage_done": "stage, seconds, summary",
    "note": "text",
    "run_done": "anything worth keeping",
    "run_failed": "error, code",
}
"""The kinds of event and the fields they carry beside ``t`` and ``kind``."""

ENDS = ("run_done", "run_failed")
"""The kinds that close a run: everything is written out at once when one of them comes."""

TICK = "tick"
"""A sign of life: heard by listeners, never written to the diary."""

UPLOAD_EVERY_S = 5.0
"""An object store takes whole files only, so the file is uploaded again at most this often."""

PART_BYTES = 256 * 1024
"""A file that is uploaded whole is closed at this size, so that a long run does not upload its past again and again."""


class EventLog:
    """Writes events to ``events/driver-<pid>-<start>.jsonl`` and tells the listeners, in the order given.

    On a local disk each event is appended at once; on an object store events are buffered and uploaded at most every
    five seconds, at the end of the run and at :meth:`close`.
    """

    def __init__(
        self, folder: Folder, listeners: Sequence[Listener] = (), clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder.child("events")
        self._listeners = list(listeners)
        self._clock = clock
        now = clock()
        self._stem = f"driver-{os.getpid()}-{iso(now).replace('-', '').replace(':', '').replace('.', '')}"
        self._lines: list[bytes] = []
        self._part, self._size, self._dirty, self._uploaded = 0, 0, False, -math.inf
        self._path = self._folder.local(f"{self._stem}.jsonl")
        self._lock = threading.RLock()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def emit(self, kind: str, **fields: Any) -> None:
        """Record an event of one of :data:`KINDS` and tell the listeners.

        Raises:
            ValueError: the kind is not one of :data:`KINDS`.
            DataError: the diary cannot be written (on an object store: only when the run ends or at :meth:`close`).
        """
        if kind not in KINDS:
            raise ValueError(f"unknown event kind '{kind}'; known are {sorted(KINDS)}")
        with self._lock:
            event = {"t": iso(self._clock()), "kind": kind, **_plain(fields)}
            line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
            if self._path is not None:
                _append(self._path, line)
            else:
                self._lines.append(line)
                self._size += len(line)
                self._dirty = True
                self._upload(must=kind in ENDS)
            self._tell(event)

    def tick(self) -> None:
        """Give a sign of life: listeners refresh what they show, buffered events go out when due.

        A driver calls it while it waits for long units, so that ``raydc status`` can tell waiting from death.
        """
        with self._lock:
            self._upload(must=False)
            self._tell({"t": iso(self._clock()), "kind": TICK})

    def close(self) -> None:
        """Write out what is buffered. Events may follow; closing twice does no harm."""
        with self._lock:
            self._upload(must=True)

    def _tell(self, event: dict[str, Any]) -> None:
        for listener in self._listeners:
            listener(event)

    def _upload(self, must: bool) -> None:
        now = self._clock()
        if not self._dirty or (not must and now - self._uploaded < UPLOAD_EVERY_S):
            return
        self._uploaded = now
        name = f"{self._stem}.jsonl" if self._part == 0 else f"{self._stem}-{self._part:04d}.jsonl"
        try:
            self._folder.write(name, b"".join(self._lines))
        except DataError:
            # A hiccup of the store must not end a long run over its diary: the lines stay and go out with the next try.
            if must:
                raise
            return
        self._dirty = False
        if self._size >= PART_BYTES:
            self._part, self._lines, self._size = self._part + 1, [], 0


def read_events(folder: Folder) -> list[dict[str, Any]]:
    """Return the events of all drivers of a run in order of time; [] where there are none.

    A last line without its newline is what a killed driver leaves behind and is left out.

    Raises:
        DataError: another line is not an event.
    """
    diary = folder.child("events")
    events = []
    for name in diary.list():
        if not name.endswith(".jsonl"):
            continue
        for number, line in enumerate(diary.read(name).split(b"\n")[:-1], start=1):
            try:
                event = json.loads(line)
                event["t"], event["kind"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{clean(diary.url)}/{name} line {number} is not an event ({error}); expected a JSON object with "
                    f"'t' and 'kind'. Remove the file to go on without it: results do not depend on the diary"
                ) from error
            events.append(event)
    return sorted(events, key=lambda event: event["t"])


def _append(path: Path, line: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(line)
    except OSError as error:
        raise DataError(
            f"cannot append {len(line)} bytes to the event log {path}: {error.strerror}. "
            f"Free the disk or mend its permissions, then run the same command again: it resumes"
        ) from error


def _plain(value: Any) -> Any:
    """Make a value fit for strict JSON: NumPy scalars become numbers, what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
