"""Figures of what the run took: bytes, time by stage, time by worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raydc.report.charts import spans
from raydc.report.data import ReportData, WorkerLane
from raydc.report.naming import Tree
from raydc.report.results import rank
from raydc.report.scales import Scale, tick_text
from raydc.report.units import bytes_text, duration, percent

STAGES = ("squeeze", "synthesize", "pack", "relabel", "evaluate", "report")

MOST_LANES = 48
"""Workers shown one by one; more would only make a wall."""

UNITS = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))


def sizes(data: ReportData) -> Tree | None:
    """Return the bytes of images and labels as parts of a bar; None where they are not known."""
    parts = [(name, data.dataset_bytes[name]) for name in ("images", "labels") if data.dataset_bytes.get(name)]
    if not parts:
        return None
    total, at, pieces = sum(size for _, size in parts), 0.0, []
    for name, size in parts:
        pieces.append((at, at + size / total, "condensed" if name == "images" else "labels"))
        at += size / total
    caption = f"{bytes_text(total)} in all."
    if len(parts) == 2:
        (_, images), (_, labels) = parts
        more, less = ("labels", "images") if labels >= images else ("images", "labels")
        caption += f" The {more} take {max(labels, images) / min(labels, images):.3g} times the space of the {less}."
    shown = [{"name": n, "kind": p[2], "text": bytes_text(s)} for (n, s), p in zip(parts, pieces, strict=True)]
    label = ", ".join(f"{name} {bytes_text(size)}" for name, size in parts)
    return {"track": spans(pieces, label), "parts": shown, "caption": caption}


def timeline(data: ReportData) -> Tree | None:
    """Return the time by stage and by worker; None where neither is known."""
    if not data.stage_seconds and not data.worker_seconds:
        return None
    stages = sorted(data.stage_seconds.items(), key=lambda item: rank(STAGES, item[0]))
    total, at, pieces = sum(s for _, s in stages), 0.0, []
    for name, seconds in stages if total > 0 else ():
        pieces.append((at / total, (at + seconds) / total, stage_kind(name)))
        at += seconds
    shown = [
        {
            "name": name,
            "kind": stage_kind(name),
            "text": duration(s),
            "share": percent(s / total, 0) if total > 0 else "",
        }
        for name, s in stages
    ]
    track = spans(pieces, ", ".join(f"{n} {duration(s)}" for n, s in stages))
    return {"stages": shown, "track": track, "total": duration(total), **_lanes(data.worker_seconds)}


def hours(found: Mapping[str, Any]) -> Tree | None:
    """Return the device-hours of the stages that hold devices; None where none are known."""
    if not found.get("total"):
        return None
    stages = [{"name": name, "kind": stage_kind(name), "text": _hours_text(found[name])}
              for name in STAGES if found.get(name)]  # fmt: skip
    return {"device": found["device"], "stages": stages, "total": _hours_text(found["total"])}


def _hours_text(value: float) -> str:
    return f"{value:,.0f} h" if value >= 100 else f"{value:.3g} h"


def stage_kind(stage: str) -> str:
    """Return the colour class of a stage."""
    return f"s{STAGES.index(stage) if stage in STAGES else len(STAGES)}"


def _lanes(found: Sequence[WorkerLane]) -> Tree:
    by_worker: dict[str, list[tuple[float, float, str]]] = {}
    for lane in found:
        by_worker.setdefault(lane.worker, []).extend((a, b, lane.stage) for a, b in lane.spans)
    end = max((b for rows in by_worker.values() for _, b, _ in rows), default=0.0)
    if end <= 0:
        return {"lanes": [], "ticks": [], "unit": "", "hidden": 0, "kinds": []}
    unit, size = next((unit, size) for unit, size in UNITS if end >= 3 * size or size == 1)
    lanes = []
    for worker, rows in list(by_worker.items())[:MOST_LANES]:
        rows.sort()
        busy = percent(sum(b - a for a, b, _ in rows) / end, 0)
        pieces = [(a / end, b / end, stage_kind(stage)) for a, b, stage in rows]
        label = f"{worker}: busy {busy} of the time with {', '.join(dict.fromkeys(s for _, _, s in rows))}"
        lanes.append({"worker": worker, "text": busy, "track": spans(pieces, label)})
    scale = Scale(0, end / size, 0, 100)
    ticks = [{"at": f"{scale(t):.2f}", "text": tick_text(t)} for t in scale.ticks(6)]
    stages = sorted({lane.stage for lane in found}, key=lambda name: rank(STAGES, name))
    return {"lanes": lanes, "ticks": ticks, "unit": unit, "hidden": max(0, len(by_worker) - MOST_LANES),
            "kinds": [(stage_kind(s), s) for s in stages]}  # fmt: skip
