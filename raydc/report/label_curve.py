"""Accuracy against the bytes of labels, where a run has stored several sets of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raydc.report.charts import Series, line_panel
from raydc.report.naming import NAMES, Tree, kind
from raydc.report.results import DATA, Group, groups, rank
from raydc.report.units import bytes_text

LEAST = 2
"""Label sets of which there is a curve."""


def label_curve(evaluations: Sequence[Mapping[str, Any]]) -> Tree | None:
    """Return a panel a student, and a row for every label set; None where no student has learnt from two of them."""
    points: dict[tuple[str, int], list[Group]] = {}
    for g in groups(evaluations):
        if g.label_bytes and g.kind[3]:
            points.setdefault((g.student, g.ipc), []).append(g)
    points = {key: found for key, found in points.items() if len({g.kind[3] for g in found}) >= LEAST}
    if not points:
        return None
    many = len({ipc for _, ipc in points}) > 1
    panels = [_panel(f"{student}, IPC {ipc}" if many else student, found) for (student, ipc), found in points.items()]
    present = sorted({g.data for found in points.values() for g in found}, key=lambda name: rank(DATA, name))
    return {
        "panels": panels,
        "kinds": [(kind(name), NAMES.get(name, name)) for name in present],
        "columns": [NAMES.get(name, name) for name in present],
        "rows": [row for found in points.values() for row in _rows(found, present)],
    }


def bytes_tick(value: float) -> str:
    """Return a tick of a bytes axis, ``"30 kB"``."""
    number, unit = bytes_text(value).split(" ")
    return f"{float(number):g} {unit}"


def _panel(name: str, found: Sequence[Group]) -> Tree:
    lines = []
    for data in sorted({g.data for g in found}, key=lambda d: rank(DATA, d)):
        mine = sorted((g for g in found if g.data == data), key=lambda g: (g.label_bytes, g.last.mean))
        spread = [100 * (g.last.std or 0.0) for g in mine]
        y = [100 * g.last.mean for g in mine]
        lines.append(Series(
            data, kind(data), [float(g.label_bytes) for g in mine], y,
            [v - s for v, s in zip(y, spread, strict=True)], [v + s for v, s in zip(y, spread, strict=True)],
            marks=[_said(g) for g in mine],
        ))  # fmt: skip
    label = f"{name}: " + "; ".join(
        f"{s.name} {s.y[0]:.1f} % at {bytes_text(s.x[0])} to {s.y[-1]:.1f} % at {bytes_text(s.x[-1])}" for s in lines
    )
    return {"name": name, "chart": line_panel(lines, label, "bytes of labels (log scale)", "top-1, %",
                                              x_text=bytes_tick)}  # fmt: skip


def _said(g: Group) -> str:
    run = g.runs[0]
    of = ", ".join([run.label_set, *([run.codec] if run.codec else []), *([f"{run.views} views"] if run.views else [])])
    return f"{NAMES.get(g.data, g.data)}, {of}: {g.last.text()} % at {bytes_text(g.label_bytes)}"


def _rows(found: Sequence[Group], present: Sequence[str]) -> list[Tree]:
    """Label sets from the smallest on, each with what every kind of data reaches with it."""
    sets: dict[str, list[Group]] = {}
    for g in sorted(found, key=lambda g: g.label_bytes):
        sets.setdefault(g.kind[3], []).append(g)
    rows = []
    for name, of_set in sets.items():
        run, by_data = of_set[0].runs[0], {g.data: g.last.text() for g in of_set}
        rows.append({
            "student": of_set[0].student, "set": name, "codec": run.codec or "–", "views": run.views or "–",
            "bytes": bytes_text(of_set[0].label_bytes), "scores": [by_data.get(data, "–") for data in present],
        })  # fmt: skip
    return rows
