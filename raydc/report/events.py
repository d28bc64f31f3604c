"""The run's diary: one JSON object a line under ``events/``, and the listeners that hear each event as it happens.

Every driver writes files of its own, so a resumed run adds to the diary and never rewrites what another driver wrote.

Every event names its span, so that a reader can rebuild who did what when: ``trace`` is the driver, ``span`` is
``run``, a stage, or ``STAGE/UNIT/TRY``, where tries are numbered by their ends, and ``parent`` is the span around it.
An event that ends a span carries ``began`` (seconds since 1970) and ``seconds``.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from raydc.errors import DataError
from raydc.report.units import instant, iso
from raydc.store.faults import clean
from raydc.store.folder import Folder

Listener = Callable[[dict[str, Any]], None]

KINDS = {
    "run_started": "run, output, driver, versions",
    "stage_started": "stage, total, done, unit",
    "unit_done": "stage, unit, worker, began, seconds, image_steps, bytes; node where it is known",
    "unit_retried": "stage, unit, worker, node, seconds, attempt, error: it failed and goes back to the queue",
    "unit_failed": "stage, unit, worker, node, seconds, attempt, error: it failed for good, the others go on",
    "unit_handed_back": "stage, unit, worker, node, seconds; step if known: its machine is to go, it goes on elsewhere",
    "unit_copied": "stage, unit, node: an idle worker makes a copy of what a slower one still holds",
    "unit_outrun": "stage, unit, worker, node, seconds: another worker made it first",
    "node_avoided": "stage, node, error: this machine gets no new units",
    "workers": "stage, count: workers with a unit; nodes, where it is known: the machines they are on",
    "progress": "stage, text",
    "stage_done": "stage, seconds, summary",
    "note": "text",
    "run_done": "anything worth keeping",
    "run_failed": "error, code",
}
"""The kinds of event and the fields they carry beside ``t`` and ``kind``."""

ENDS = ("run_done", "run_failed")
"""The kinds that close a run: everything is written out at once when one of them comes."""

UNIT_ENDS = {
    "unit_done": "done",
    "unit_retried": "retried",
    "unit_failed": "failed",
    "unit_handed_back": "handed back",
    "unit_outrun": "outrun",
}
"""The kinds that end a try of a unit, and how it ended."""

ROOT = "run"
"""The span that all stages of a driver are in."""

TICK = "tick"
"""A sign of life: heard by listeners, never written to the diary."""

UPLOAD_EVERY_S = 5.0
"""An object store takes whole files only, so the file is uploaded again at most this often."""

AWAY_S = 30.0
"""A store that did not take a file is left alone for so long: each try may hold the driver until it times out."""

LAST_WORD_S = 30.0
"""Patience with the store when the run has ended: finished work is safe, and somebody waits for the end."""

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
        self._folder = folder.child("events").hasty()
        self._last = Folder(self._folder.url, min(folder.patience, LAST_WORD_S))
        self._listeners = list(listeners)
        self._clock = clock
        now = clock()
        self._stem = f"driver-{os.getpid()}-{iso(now).replace('-', '').replace(':', '').replace('.', '')}"
        self._lines: list[bytes] = []
        self._part, self._size, self._dirty, self._due = 0, 0, False, -math.inf
        self._failing = False
        self._path = self._folder.local(f"{self._stem}.jsonl")
        self._lock = threading.RLock()
        self._began: dict[str, float] = {}
        self._tries: Counter[str] = Counter()

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
                Never of a run that failed: its own error is what counts then.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown event kind '{kind}'; known are {sorted(KINDS)}")
        with self._lock:
            event = self._placed({"t": iso(self._clock()), "kind": kind, **_plain(fields)})
            self._failing = kind == "run_failed"
            line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
            try:
                self._write(line, at_once=kind in ENDS)
            except DataError:
                if not self._failing:
                    raise
            self._tell(event)

    def tick(self) -> None:
        """Give a sign of life: listeners refresh what they show, buffered events go out when due.

        A driver calls it while it waits for long units, so that ``raydc status`` can tell waiting from death.
        """
        with self._lock:
            self._upload(at_once=False)
            self._tell({"t": iso(self._clock()), "kind": TICK})

    def close(self) -> None:
        """Write out what is buffered. Events may follow; closing twice does no harm."""
        with self._lock:
            self._upload(at_once=not self._failing)

    def _placed(self, event: dict[str, Any]) -> dict[str, Any]:
        """Say which span an event belongs to, and when the span that it ends began."""
        kind, now, stage = event["kind"], instant(event["t"]), event.get("stage")
        span, parent = (str(stage), ROOT) if stage else (ROOT, None)
        if kind in UNIT_ENDS:
            unit = f"{stage}/{event.get('unit', '')}"
            self._tries[unit] += 1
            span, parent = f"{unit}/{self._tries[unit]}", span
            event.setdefault("began", now - (event.get("seconds") or 0.0))
        elif kind in ("run_started", "stage_started"):
            self._began[span] = now
        elif kind in ("stage_done", *ENDS):
            event.setdefault("began", self._began.get(span, now))
            event.setdefault("seconds", now - event["began"])
        return {**event, "trace": self._stem, "span": span, "parent": parent}

    def _tell(self, event: dict[str, Any]) -> None:
        for listener in self._listeners:
            listener(event)

    def _write(self, line: bytes, at_once: bool) -> None:
        if self._path is not None:
            _append(self._path, line)
            return
        self._lines.append(line)
        self._size += len(line)
        self._dirty = True
        self._upload(at_once)

    def _upload(self, at_once: bool) -> None:
        """Upload what is new, if it is due or must be now; only what must be now may fail."""
        now = self._clock()
        if not self._dirty or (not at_once and now < self._due):
            return
        self._due = now + UPLOAD_EVERY_S
        name = f"{self._stem}.jsonl" if self._part == 0 else f"{self._stem}-{self._part:04d}.jsonl"
        try:
            (self._last if at_once else self._folder).write(name, b"".join(self._lines))
        except DataError:
            # A hiccup of the store must not end a long run over its diary: the lines stay and go out with the next try.
            self._due = now + AWAY_S
            if at_once:
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
