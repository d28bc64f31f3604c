"""Who worked when: the times of stages and workers, read back from the run's events over all its drivers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raydc.report.data import WorkerLane
from raydc.report.status import Status
from raydc.report.units import instant


def stage_seconds(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the seconds of each stage, those that killed drivers spent included."""
    status = Status()
    for event in events:
        status.apply(event)
    return dict(status.seconds)


def worker_lanes(events: Sequence[Mapping[str, Any]]) -> list[WorkerLane]:
    """Return when each worker was busy in each stage, in seconds since the first event.

    A unit's span ends with its ``unit_done`` event; work that was lost has no span.
    """
    if not events:
        return []
    origin = instant(events[0]["t"])
    spans: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for event in events:
        if event["kind"] == "unit_done" and event.get("worker") and event.get("seconds") is not None:
            end = instant(event["t"]) - origin
            start = max(0.0, end - float(event["seconds"]))
            spans.setdefault((str(event["stage"]), str(event["worker"])), []).append((start, end))
    return [WorkerLane(stage, worker, sorted(rows), len(rows)) for (stage, worker), rows in spans.items()]
