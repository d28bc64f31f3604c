"""The run in numbers for Prometheus: counters and gauges of Ray, all derived from the driver's events in one place.

Ray exports them on the machine of the driver, with ``ray_`` before their names and ``_total`` behind a counter's, at
``http://HOST:PORT/metrics`` (``ray start --metrics-export-port PORT``). ``cluster/grafana-dashboard.json`` shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray.util.metrics import Counter, Gauge

from raydc.report.status import Status

COUNTERS = {
    "raydc_units_done": "Units of work done: teachers, blocks, shards, students",
    "raydc_unit_seconds": "Seconds that workers spent on the units that are done",
    "raydc_image_steps": "Images times steps, of the units that are done",
    "raydc_bytes_written": "Bytes of the parts and shards that were written",
    "raydc_retries": "Tries of a unit that failed and were followed by another",
    "raydc_failed": "Units that were given up",
    "raydc_handed_back": "Units that came back because their machine was to go",
    "raydc_copies": "Copies of units that idle workers made at the end of a stage",
    "raydc_nodes_avoided": "Machines that got no new units because what they did kept failing",
}
"""Counters since the driver started, and what they count. Durations are a counter: Ray's histograms sum midpoints."""

GAUGES = {
    "raydc_units": "Units of the stage in all",
    "raydc_queue": "Units of the stage that are not done",
    "raydc_workers": "Workers with a unit",
    "raydc_nodes": "Machines that these workers are on",
    "raydc_image_steps_per_second": "Images times steps a second, over the last units of all workers",
}
"""Gauges, and what they show."""

TAGS = ("run", "stage")


class Metrics:
    """A listener of :class:`raydc.report.events.EventLog`; before Ray has started and after it has ended it is idle."""

    def __init__(self) -> None:
        self._status = Status()
        self._made: dict[str, Counter | Gauge] = {}

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Count what the event tells, and show where the stage stands."""
        self._status.apply(event)
        if not self._status.stage or not ray.is_initialized():
            return
        for name, amount in counted(event).items():
            if amount > 0:
                self._metric(name).inc(amount, tags=self._tags())
        for name, level in levels(self._status).items():
            self._metric(name).set(level, tags=self._tags())

    def _tags(self) -> dict[str, str]:
        return {"run": self._status.run, "stage": self._status.stage}

    def _metric(self, name: str) -> Any:
        """The metric, made when it is first needed: Ray must be running then."""
        if name not in self._made:
            made: Any = Counter if name in COUNTERS else Gauge
            self._made[name] = made(name, description=COUNTERS.get(name) or GAUGES[name], tag_keys=TAGS)
        return self._made[name]


def counted(event: Mapping[str, Any]) -> dict[str, float]:
    """What an event adds to the counters."""
    kind = event["kind"]
    if kind == "unit_done":
        return {
            "raydc_units_done": 1,
            "raydc_unit_seconds": event.get("seconds") or 0,
            "raydc_image_steps": event.get("image_steps") or 0,
            "raydc_bytes_written": event.get("bytes") or 0,
        }
    single = {
        "unit_retried": "raydc_retries",
        "unit_failed": "raydc_failed",
        "unit_handed_back": "raydc_handed_back",
        "unit_copied": "raydc_copies",
        "node_avoided": "raydc_nodes_avoided",
    }
    return {single[kind]: 1} if kind in single else {}


def levels(status: Status) -> dict[str, float]:
    """What the gauges of the present stage show; one that has ended is at rest, for a gauge stays as it was left."""
    going = bool(status.stage_started)
    shown: dict[str, float] = {
        "raydc_units": status.total,
        "raydc_queue": max(0, status.total - status.done),
        "raydc_workers": status.workers,
        "raydc_image_steps_per_second": (status.image_steps_per_s or 0) if going else 0,
    }
    if status.nodes is not None or not going:
        shown["raydc_nodes"] = status.nodes or 0
    return shown
