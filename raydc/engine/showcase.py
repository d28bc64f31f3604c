"""What the report shows of a run, gathered from its folder: pictures, curves, numbers, times."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from raydc.config import dump
from raydc.engine import evaluate, scores, verifiers
from raydc.engine.parts import image_name, read_marker, read_members
from raydc.engine.run import Run
from raydc.engine.weights import read_record
from raydc.plan.blocks import Block
from raydc.report.data import ClassRow, Curve, Evolution, ReportData, TeacherNote, Term, VerifierScore
from raydc.report.events import read_events
from raydc.report.results import labels_text
from raydc.report.timings import stage_seconds, worker_lanes
from raydc.sources.base import Source
from raydc.sources.places import in_threads
from raydc.store import manifest as manifests

CLASSES = 20
"""Classes shown; the page says of how many."""
PICTURES = 8
"""Pictures of a class, of each kind."""
EVOLUTIONS = 6
BLOCKS = 200
"""Blocks whose objective is averaged."""


def showcase(run: Run, classes: Sequence[str], source: Source | None, blocks: list[Block]) -> ReportData:
    """Gather the report's data; what a run does not have is left empty."""
    config = run.config
    product = run.dataset("condensed")
    manifest = manifests.read(product)
    markers = in_threads(lambda block: read_marker(run, "condensed", block.id), spread(blocks, BLOCKS))
    results = list(evaluate.results(run))
    events = read_events(run.folder)
    env = run.folder.read_json("env.json")
    return ReportData(
        run=config.name,
        created=manifest.created,
        versions={k: str(v) for k, v in env.items()},
        config_yaml=dump(config.model_copy(update={"output": None})),
        method_title=config.method.title or config.method.name,
        method_paper=config.method.paper,
        dataset_id=manifest.dataset_id,
        dataset_url="datasets/condensed",
        dataset_bytes={
            "images": sum(f.bytes for f in manifest.images.files),
            "labels": sum(f.bytes for s in manifest.label_sets.values() for f in s.files),
        },
        classes=len(set().union(*(b.classes for b in blocks))),
        ipc=config.synthesize.ipc,
        image_size=config.data.image_size,
        class_rows=_class_rows(run, classes, source, blocks),
        evolutions=[_evolution(run, m, classes) for m in spread(markers, EVOLUTIONS) if len(m["history"]["steps"])],
        objective=_objective(markers),
        verifiers=_verifiers(run),
        curves=[_curve(job, result, len(run.config.label_sets) > 1) for job, result in results],
        evaluations=evaluate.entries(run),
        by_class=scores.by_class(run, classes),
        device_hours=scores.hours(run, events),
        teachers=[_teacher(run, t.name) for t in config.teachers],
        stage_seconds=stage_seconds(events),
        worker_seconds=worker_lanes(events),
        notes=sorted({e["text"] for e in events if e["kind"] == "note"}),
    )


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` items, evenly over the whole."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def _class_rows(run: Run, classes: Sequence[str], source: Source | None, blocks: list[Block]) -> list[ClassRow]:
    shown = spread(sorted(set().union(*(b.classes for b in blocks))), CLASSES)
    found: dict[int, list[np.ndarray]] = defaultdict(list)
    for of_block in in_threads(partial(_pictures, run, frozenset(shown)), blocks):
        for label, picture in of_block:
            found[label].append(picture)
    rows = []
    for c in shown:
        real = source.train.of_class(c)[:PICTURES].tolist() if source is not None else []
        pictures = [source.image(source.train, i) for i in real] if source is not None else []
        rows.append(ClassRow(classes[c], found[c], pictures))
    return rows


def _pictures(run: Run, shown: frozenset[int], block: Block) -> list[tuple[int, np.ndarray]]:
    """The images of a block that are shown, each with its class; a block without one is not opened."""
    wanted = {n: label for n, (label, index) in enumerate(block.entries) if label in shown and index < PICTURES}
    if not wanted:
        return []
    names = [image_name(n, run.config.pack.format) for n in wanted]
    pictures = read_members(run, "condensed", read_marker(run, "condensed", block.id), names)
    return list(zip(wanted.values(), pictures, strict=True))


def _evolution(run: Run, marker: dict[str, Any], classes: Sequence[str]) -> Evolution:
    names = sorted(n for n in marker["members"] if n.startswith("step-"))
    label = marker["entries"][marker["shown"]][0]
    pictures = read_members(run, "condensed", marker, names)
    return Evolution(classes[label], [(int(n[5:13]), p) for n, p in zip(names, pictures, strict=True)])


def _objective(markers: list[dict[str, Any]]) -> dict[str, Term]:
    histories = [m["history"] for m in markers if m["history"]["steps"]]
    if not histories:
        return {}
    steps = histories[0]["steps"]
    histories = [h for h in histories if h["steps"] == steps]  # a resumed run may log at other steps
    terms = {}
    for name in histories[0]:
        if name != "steps":
            values = np.array([h[name] for h in histories])
            terms[name] = Term(steps, values.mean(0).tolist(), values.min(0).tolist(), values.max(0).tolist())
    return terms


def _verifiers(run: Run) -> list[VerifierScore]:
    if not run.folder.exists(verifiers.FILE):
        return []
    return [
        VerifierScore(a["verifier"], a["data"], a["top1"], a["top5"], a["count"])
        for a in run.folder.read_json(verifiers.FILE)
    ]


def _curve(job: Any, result: dict[str, Any], several: bool) -> Curve:
    label_set = job.stored.called if job.stored and job.labels == "soft" else ""
    records = result["records"]
    return Curve(
        data=job.data,
        labels=labels_text(job.labels, label_set, job.augment, several),
        student=job.student.name,
        seed=job.seed,
        epochs=[r["epoch"] for r in records],
        top1=[r["top1"] for r in records],
        loss=[r["loss"] for r in records],
    )


def _teacher(run: Run, name: str) -> TeacherNote:
    record = read_record(run.teachers(), name)
    return TeacherNote(record.name, record.arch.name, record.top1, record.sha256, record.origin)
