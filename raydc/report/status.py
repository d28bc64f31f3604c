"""Where a run stands, folded from its events and kept as ``status.json`` for a look from any machine."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from raydc.errors import DataError
from raydc.report.driver import gone
from raydc.report.events import AWAY_S, ENDS, LAST_WORD_S, UPLOAD_EVERY_S
from raydc.report.units import instant
from raydc.store.faults import clean
from raydc.store.folder import Folder

NAME = "status.json"

WINDOW = 64
"""Units over which rates are averaged: long enough to be calm, short enough to follow a pool that grows."""

WRITE_EVERY_S = 1.0
"""On a disk; on an object store a write is a request that the driver waits for."""
NODE_LETTERS = 8
"""Of a node's id, where people read it."""
SILENT_AFTER_S = 60.0
"""A driver gives a sign of life every few seconds; after this long without one its status is no longer believed."""


@dataclass
class Status:
    """The state of a run after some events. Times are ISO 8601 in UTC, durations are seconds."""

    run: str = ""
    output: str = ""
    driver: str = ""
    """The machine and process that the last driver is or was."""
    state: str = "waiting"
    """``waiting``, ``running``, ``done`` or ``failed``."""
    started: str = ""
    updated: str = ""
    stage: str = ""
    unit: str = "unit"
    done: int = 0
    total: int = 0
    stage_started: str = ""
    image_steps_per_s: float | None = None
    units_per_s: float | None = None
    eta_s: float | None = None
    """Until the end of the stage, as of ``updated``."""
    workers: int = 0
    nodes: int | None = None
    """Machines that the workers are on, where it is known."""
    retries: int = 0
    failed: int = 0
    """Units given up by this driver, while the others go on."""
    handed_back: int = 0
    copies: int = 0
    avoided: list[str] = field(default_factory=list)
    """Machines that get no new units because what they did kept failing."""
    last_error: str = ""
    text: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """Of each stage, over all drivers that worked on it."""
    summaries: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    recent: list[list[float]] = field(default_factory=list)
    """The last units: (end, seconds, image steps)."""

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take in one event. Unknown kinds only count as a sign of life."""
        if event["kind"] == "run_started":
            self._bank()
        self.updated = event["t"]
        handler = getattr(self, f"_on_{event['kind']}", None)
        if handler is not None:
            handler(event)

    def silent_s(self, now: float | None = None) -> float:
        """Return the seconds since the last sign of life."""
        return max(0.0, (time.time() if now is None else now) - instant(self.updated)) if self.updated else math.inf

    def alive(self, now: float | None = None) -> bool:
        """Say whether a driver is at work, as far as its signs of life tell, or its machine, if it is this one."""
        return self.state == "running" and not gone(self.driver) and self.silent_s(now) < SILENT_AFTER_S

    def as_json(self, now: float | None = None) -> dict[str, Any]:
        """Return the tree for ``raydc status --json``: the fields, ``alive`` and ``silent_s``."""
        tree = asdict(self)
        del tree["recent"]
        silent = self.silent_s(now)
        return {**tree, "alive": self.alive(now), "silent_s": silent if math.isfinite(silent) else None}

    def _on_run_started(self, event: Mapping[str, Any]) -> None:
        self.run, self.output = str(event.get("run", "")), str(event.get("output", ""))
        self.driver = str(event.get("driver", ""))
        self.versions = {str(k): str(v) for k, v in (event.get("versions") or {}).items()}
        self.state, self.started = "running", event["t"]
        self.retries = self.failed = self.handed_back = self.copies = 0
        self.workers, self.nodes, self.avoided, self.last_error, self.text = 0, None, [], "", ""

    def _on_stage_started(self, event: Mapping[str, Any]) -> None:
        self._bank()
        self.state = "running"
        self.stage, self.unit = str(event["stage"]), str(event.get("unit") or "unit")
        self.total, self.done = int(event.get("total") or 0), int(event.get("done") or 0)
        self.stage_started, self.recent = event["t"], []
        self.workers, self.nodes, self.text = 0, None, ""
        self.image_steps_per_s = self.units_per_s = self.eta_s = None

    def _on_unit_done(self, event: Mapping[str, Any]) -> None:
        self.done += 1
        self.recent.append([instant(event["t"]), event.get("seconds") or 0.0, event.get("image_steps") or 0])
        del self.recent[:-WINDOW]
        self._measure()

    def _on_unit_retried(self, event: Mapping[str, Any]) -> None:
        self.retries += 1
        self._blame(f"{self.unit} {event.get('unit', '')}", event)

    def _on_unit_failed(self, event: Mapping[str, Any]) -> None:
        self.failed += 1
        self._blame(f"{self.unit} {event.get('unit', '')} was given up", event)

    def _on_unit_handed_back(self, event: Mapping[str, Any]) -> None:
        self.handed_back += 1

    def _on_unit_copied(self, event: Mapping[str, Any]) -> None:
        self.copies += 1

    def _on_node_avoided(self, event: Mapping[str, Any]) -> None:
        node = str(event.get("node", ""))
        if node not in self.avoided:
            self.avoided.append(node)
        self._blame(f"node {node[:NODE_LETTERS]} is avoided", event)

    def _blame(self, what: str, event: Mapping[str, Any]) -> None:
        self.last_error = f"{what}: {event.get('error', '')}"

    def _on_workers(self, event: Mapping[str, Any]) -> None:
        self.workers, self.nodes = int(event.get("count") or 0), event.get("nodes")
        self._measure()

    def _on_progress(self, event: Mapping[str, Any]) -> None:
        self.text = str(event.get("text", ""))

    def _on_stage_done(self, event: Mapping[str, Any]) -> None:
        stage = str(event["stage"])
        self._bank()
        self.summaries[stage] = summary_text(event.get("summary"))
        self.eta_s, self.workers, self.nodes, self.text = None, 0, None, ""

    def _on_run_done(self, event: Mapping[str, Any]) -> None:
        self._bank()
        self.state, self.stage, self.eta_s, self.workers, self.nodes, self.text = "done", "", None, 0, None, ""

    def _on_run_failed(self, event: Mapping[str, Any]) -> None:
        self._bank()
        self.state, self.last_error, self.workers, self.nodes = "failed", str(event.get("error", "")), 0, None

    def _bank(self) -> None:
        """Add the time of the open stage up to the last sign of life, so that a killed driver's work is counted."""
        if self.stage and self.stage_started:
            spent = max(0.0, instant(self.updated) - instant(self.stage_started))
            self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + spent
        self.stage_started = ""

    def _measure(self) -> None:
        """Estimate rates from the last units: by their ends, or by their lengths until each worker has ended one."""
        if not self.recent or not self.stage_started:
            return
        rows = self.recent
        if len(rows) < max(2, self.workers):
            span = sum(row[1] for row in rows) / max(1, self.workers)
        elif len(rows) < WINDOW:
            span = rows[-1][0] - instant(self.stage_started)
        else:
            span, rows = rows[-1][0] - rows[0][0], rows[1:]
        if span <= 0:
            return
        steps = sum(row[2] for row in rows)
        self.units_per_s = len(rows) / span
        self.image_steps_per_s = steps / span if steps else None
        self.eta_s = max(0, self.total - self.done) / self.units_per_s if self.total else None


class StatusFile:
    """A listener that keeps ``status.json`` of a run folder: every second at most (or five), and always at the end.

    It starts from the status that an earlier driver left, so that stage times add up over a resumed run.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder, self._last = folder.hasty(), Folder(folder.url, min(folder.patience, LAST_WORD_S))
        self.status = read_status(folder) if folder.exists(NAME) else Status()
        self._every = WRITE_EVERY_S if folder.local() is not None else UPLOAD_EVERY_S
        self._due = -math.inf

    def __call__(self, event: dict[str, Any]) -> None:
        """Take in an event and write the file when it is due."""
        self.status.apply(event)
        now, last = instant(event["t"]), event["kind"] in ENDS
        if not last and now < self._due:
            return
        self._due = now + self._every
        try:
            (self._last if last else self._folder).write_json(NAME, asdict(self.status))
        except DataError:
            # The status is a courtesy: a store that is away must not end the run. Only "done" must be right; of a run
            # that failed, its own error counts, and its status tells by its silence.
            self._due = now + AWAY_S
            if event["kind"] == "run_done":
                raise


def read_status(folder: Folder) -> Status:
    """Return the last written status of a run.

    Raises:
        DataError: the folder holds no run, or its status is not one.
    """
    if not folder.exists(NAME):
        raise DataError(f"no run at {clean(folder.url)}: found no {NAME}; expected the output folder of a 'raydc run'")
    try:
        tree = folder.read_json(NAME)
        known = {item.name for item in fields(Status)}
        return Status(**{key: value for key, value in tree.items() if key in known})
    except (ValueError, TypeError, AttributeError) as error:
        where = f"{clean(folder.url)}/{NAME}"
        raise DataError(f"{where} is not the status of a run ({error}); remove it and run again") from error


def summary_text(summary: Any) -> str:
    """Return a stage's summary as one line: a text as it is, a mapping as ``"key value, key value"``."""
    if isinstance(summary, Mapping):
        return ", ".join(f"{key} {value}" for key, value in summary.items())
    return "" if summary is None else str(summary)
