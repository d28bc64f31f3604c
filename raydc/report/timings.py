"""Who worked when: the tree of spans read back from a run's events over all its drivers, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raydc.report.data import WorkerLane
from raydc.report.events import ENDS, UNIT_ENDS
from raydc.report.status import NODE_LETTERS, Status
from raydc.report.units import instant

Events = Sequence[Mapping[str, Any]]

SPAN_FIELDS = ("t", "kind", "trace", "span", "parent", "stage", "worker", "node", "began", "seconds")
"""What a span says by itself; the other fields of the event that ended it are its details."""


@dataclass(frozen=True)
class Span:
    """A driver, one of its stages, or one try of a unit. Times are in seconds since 1970, by the driver's clock."""

    trace: str
    """The driver."""
    id: str
    """Unique in its trace: ``run``, a stage, or ``STAGE/UNIT/TRY``."""
    parent: str | None
    stage: str
    """Empty for the driver."""
    start: float
    end: float
    outcome: str
    """``done``, ``failed`` or ``cut off``; of units also ``retried``, ``handed back`` or ``outrun``."""
    worker: str = ""
    """Empty for the driver and its stages."""
    node: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


def stage_seconds(events: Events) -> dict[str, float]:
    """Return the seconds of each stage, those that killed drivers spent included."""
    status = Status()
    for event in events:
        status.apply(event)
    return dict(status.seconds)


def spans(events: Events) -> list[Span]:
    """Return the tree of a run in order of its starts: every driver, its stages, and every try of their units.

    What a killed driver left open ends with its last event and is ``cut off``; the units that it had in flight are in
    no event and so in no span.
    """
    found: list[Span] = []
    opened: dict[tuple[str, str], Mapping[str, Any]] = {}
    last: dict[str, float] = {}
    for event in events:
        kind, trace, name = event["kind"], str(event.get("trace", "")), str(event.get("span", ""))
        last[trace] = instant(event["t"])
        if kind in ("run_started", "stage_started"):
            opened.setdefault((trace, name), event)  # a stage of two passes begins with the first
        elif kind in UNIT_ENDS:
            found += _unit(event)
        elif kind == "stage_done" or kind in ENDS:
            outcome = "failed" if kind == "run_failed" else "done"
            inside = [key for key in opened if key[0] == trace and (key[1] == name or kind in ENDS)]
            found += [_closed(opened.pop(key), last[trace], outcome) for key in inside]
    found += [_closed(event, last[trace], "cut off") for (trace, _), event in opened.items()]
    return sorted(found, key=lambda span: (span.start, -span.end))


def worker_lanes(events: Events) -> list[WorkerLane]:
    """Return when each worker was busy in each stage, in seconds since the first event, work that was lost included."""
    if not events:
        return []
    origin = instant(events[0]["t"])
    lanes: dict[tuple[str, str], list[Span]] = {}
    for span in spans(events):
        if span.worker:
            lanes.setdefault((span.stage, span.worker), []).append(span)
    return [
        WorkerLane(stage, worker, [(max(0.0, s.start - origin), s.end - origin) for s in rows],
                   sum(s.outcome == "done" for s in rows))
        for (stage, worker), rows in lanes.items()
    ]  # fmt: skip


def chrome_trace(events: Events) -> dict[str, Any]:
    """Return the run in the format of Chrome's tracing, which ui.perfetto.dev opens: a row for every worker.

    Machines are its processes and workers its threads; drivers stand above them with their stages. What happened at
    one moment (a copy, an avoided machine, a note) is a mark, and the number of busy workers a curve.
    """
    places: dict[str, dict[str, int]] = {}
    rows: list[dict[str, Any]] = []
    free: dict[tuple[int, int], float] = {}
    tree = spans(events)
    homes = {span.worker: f"node {span.node[:NODE_LETTERS]}" for span in tree if span.node}
    for span in tree:
        lane = (homes.get(span.worker, "workers"), span.worker) if span.worker else ("drivers", span.trace)
        pid, tid = _place(places, *lane)
        # The rows of a trace may nest but not cross, and clocks of two machines differ by milliseconds.
        start = max(span.start, free.get((pid, tid), 0.0)) if span.worker else span.start
        free[pid, tid] = max(start, span.end)
        name = span.id.removeprefix(f"{span.stage}/") if span.worker else span.stage or "run"
        said = {"outcome": span.outcome, "span": span.id, "parent": span.parent, "trace": span.trace, **span.details}
        rows.append({"ph": "X", "name": name, "cat": f"{span.stage or 'run'},{span.outcome}", "pid": pid, "tid": tid,
                     "ts": _micro(start), "dur": _micro(max(0.0, span.end - start)), "args": said})  # fmt: skip
    for event in events:
        pid, tid = _place(places, "drivers", str(event.get("trace", "")))
        at, said = _micro(instant(event["t"])), {k: v for k, v in event.items() if k not in SPAN_FIELDS}
        if event["kind"] == "workers":
            rows.append({"ph": "C", "name": "busy workers", "pid": pid, "ts": at, "args": {"count": said["count"]}})
        elif event["kind"] in ("unit_copied", "node_avoided", "note"):
            mark = {"ph": "i", "s": "t", "cat": "mark", "args": said}
            rows.append({**mark, "name": event["kind"].replace("_", " "), "pid": pid, "tid": tid, "ts": at})
    return {"displayTimeUnit": "ms", "traceEvents": [*_names(places), *rows]}


def _unit(event: Mapping[str, Any]) -> list[Span]:
    """The try that an event ended; none where its length is not known or it took no time on a worker."""
    if event.get("seconds") is None or not event.get("worker"):
        return []
    now, seconds = instant(event["t"]), float(event["seconds"])
    # A worker's clock may run ahead of the driver's: nothing ends after the event that says so.
    end = min(now, float(event.get("began", now - seconds)) + seconds)
    return [
        Span(str(event.get("trace", "")), str(event.get("span", "")), event.get("parent"), str(event.get("stage", "")),
             end - seconds, end, UNIT_ENDS[event["kind"]], str(event["worker"]), str(event.get("node") or ""),
             {key: value for key, value in event.items() if key not in SPAN_FIELDS})
    ]  # fmt: skip


def _closed(event: Mapping[str, Any], end: float, outcome: str) -> Span:
    """The driver or stage that an event opened."""
    trace, name = str(event.get("trace", "")), str(event.get("span", ""))
    stage = str(event.get("stage", ""))
    return Span(trace, name, event.get("parent"), stage, instant(event["t"]), end, outcome)


def _place(places: dict[str, dict[str, int]], group: str, lane: str) -> tuple[int, int]:
    """The numbers that a trace knows a group of rows and one of its rows by."""
    lanes = places.setdefault(group, {})
    return list(places).index(group) + 1, lanes.setdefault(lane, len(lanes) + 1)


def _names(places: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    names = []
    for pid, (group, lanes) in enumerate(places.items(), start=1):
        names.append({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": group}})
        names.append({"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}})
        names += [{"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": lane}}
                  for lane, tid in lanes.items()]  # fmt: skip
    return names


def _micro(seconds: float) -> int:
    return round(1e6 * seconds)
