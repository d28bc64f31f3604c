"""The head of the report and what the product is worth, worded as plain trees for the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raydc.report.charts import strip
from raydc.report.data import ReportData
from raydc.report.naming import NAMES, Tree, kind
from raydc.report.ranking import scores
from raydc.report.results import DATA, Group, Kind, Verdict, groups, rank, verdicts
from raydc.report.scales import Scale, linear, tick_text
from raydc.report.units import bytes_text, duration, plural

EVERY = {1: "the one comparison made", 2: "both comparisons"}


def facts(data: ReportData) -> list[Tree]:
    """Return the figures at the top of the page, those that are known."""
    result = []
    if data.classes and data.ipc:
        made_of = f"{data.ipc:,} × {plural(data.classes, 'class')}"
        result.append(_fact("Images", f"{data.classes * data.ipc:,}", made_of))
    elif data.classes:
        result.append(_fact("Classes", f"{data.classes:,}"))
    if data.image_size:
        result.append(_fact("Resolution", f"{data.image_size} × {data.image_size}", "px"))
    for name in ("images", "labels"):
        if data.dataset_bytes.get(name):
            value, unit = bytes_text(data.dataset_bytes[name]).split(" ")
            result.append(_fact(f"Bytes of {name}", value, unit))
    if data.stage_seconds:
        result.append(_fact("Time", duration(sum(data.stage_seconds.values()))))
    return result


def results(evaluations: Sequence[Mapping[str, Any]]) -> Tree | None:
    """Return verdicts, marks of every seed and the table; None without evaluations."""
    found = groups(evaluations)
    if not found:
        return None
    judged = verdicts(evaluations)
    scale = linear([100 * run.top1_last for group in found for run in group.runs], 0, 1, zero=True)
    present = sorted({g.data for g in found}, key=lambda name: rank(DATA, name))
    return {
        "headline": headline(judged, present),
        "verdicts": [_verdict(v, len({w.ipc for w in judged}) > 1) for v in judged],
        "scores": [{"student": s.student, "sentence": s.sentence()} for s in scores(evaluations)],
        "strips": _strips(found, scale),
        "ticks": [{"at": f"{100 * scale(t):.2f}", "text": f"{tick_text(t)} %"} for t in scale.ticks()],
        "rows": [_row(g, found[i - 1] if i else None) for i, g in enumerate(found)],
    }


def headline(judged: Sequence[Verdict], present: Sequence[str]) -> str:
    """Say in a sentence or two what the comparisons amount to, honest where there is no evidence."""
    if not judged:
        lacking = "random" if "condensed" in present else "condensed"
        return (
            f"No students were trained on {NAMES[lacking]} images under the same protocol, "
            f"so these scores cannot say whether condensing helped."
        )
    verbs = {"better": "win", "worse": "lose", "level": "cannot be told apart", "one seed": "have one seed only"}
    counts = {outcome: sum(v.outcome == outcome for v in judged) for outcome in verbs}
    total, said = len(judged), []
    if counts["one seed"] == total:
        return "Every comparison rests on one seed, which is no evidence either way. Run at least three."
    for outcome, verb in verbs.items():
        if counts[outcome] == total:
            said.append(f"{verb} in {EVERY.get(total, f'all {total} comparisons')}")
        elif counts[outcome]:
            said.append(f"{verb} in {counts[outcome]} of {total}" if not said else f"{verb} in {counts[outcome]}")
    text = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"Against as many random real images under the same protocol, the condensed images {text}."


def _fact(name: str, value: str, unit: str = "") -> Tree:
    return {"name": name, "value": value, "unit": unit}


def _verdict(v: Verdict, with_ipc: bool) -> Tree:
    mean, _, reach = v.delta().partition(" ± ")
    outcome = v.outcome.replace(" ", "-")
    return {"student": v.student, "labels": v.labels, "ipc": v.ipc if with_ipc else 0, "mean": mean, "spread": reach,
            "sentence": v.sentence(), "outcome": outcome}  # fmt: skip


def _strips(found: Sequence[Group], scale: Scale) -> list[Tree]:
    blocks: dict[Kind, Tree] = {}
    many = len({g.ipc for g in found}) > 1
    for g in found:
        labels = f"IPC {g.ipc}, {g.called}" if many else g.called
        block = blocks.setdefault(g.kind, {"student": g.student, "labels": labels, "lines": []})
        values = [100 * run.top1_last for run in g.runs]
        label = f"{g.data}: top-1 {g.last.text()} %, seeds " + ", ".join(f"{v:.1f}" for v in values)
        track = strip(values, scale, kind(g.data), label)
        block["lines"].append({"name": g.data, "text": g.last.text(), "track": track})
    return list(blocks.values())


def _row(g: Group, before: Group | None) -> Tree:
    same = before is not None and before.kind == g.kind
    return {
        "first": not same,
        "student": g.student,
        "labels": g.called,
        "data": NAMES.get(g.data, g.data),
        "kind": kind(g.data),
        "ipc": "all" if g.data == "full" else g.ipc or "–",
        "last": g.last.text(),
        "best": g.best.text() if g.best else "–",
        "top5": g.top5.text() if g.top5 else "–",
        "seeds": g.last.count,
        "epochs": f"{g.epochs:,}" if g.epochs else "–",
        "label_bytes": bytes_text(g.label_bytes) if g.label_bytes else "–",
        "wall": duration(g.wall_s) if g.wall_s else "–",
    }
