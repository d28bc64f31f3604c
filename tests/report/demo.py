"""A synthetic but plausible run for the report's tests: ten digits, or 224-pixel pictures."""

from __future__ import annotations

import numpy as np

from raydc.keys import Key
from raydc.report.by_class import summary
from raydc.report.data import (
    ClassRow,
    Curve,
    Evolution,
    ReportData,
    TeacherNote,
    Term,
    VerifierScore,
    WorkerLane,
)  # fmt: skip

SCORES = {
    ("condensed", "soft"): 0.912, ("random", "soft"): 0.874, ("condensed", "hard"): 0.701, ("random", "hard"): 0.788,
    ("full", "soft"): 0.978, ("full", "hard"): 0.981,
}  # fmt: skip
LABEL_BYTES = {"condensed": 3_610_000, "random": 3_610_000, "full": 0}


def evaluations(students=("convnet", "resnet"), seeds=(0, 1, 2), data=("condensed", "random", "full")):
    key = Key(("demo", "evaluations"))
    entries = []
    for si, student in enumerate(students):
        for labels in ("soft", "hard"):
            for name in data:
                for seed in seeds:
                    jitter = 0.008 * float(key.child(student, labels, name, seed).normal(1)[0])
                    top1 = min(0.999, SCORES[name, labels] - 0.04 * si + jitter)
                    entries.append({
                        "data": name, "labels": labels, "student": student, "ipc": 10, "seed": seed, "top1_last": top1,
                        "top1_best": min(1.0, top1 + 0.006), "top5_last": min(1.0, top1 + 0.06),
                        "epochs": 300 if name != "full" else 21, "wall_s": 41.2 + seed,
                        "label_bytes": LABEL_BYTES[name] if labels == "soft" else 0,
                    })  # fmt: skip
    return entries


SETS = {"fp16": ("fp16", 300, 6_300_000, 0.0), "int8": ("int8", 300, 3_160_000, 0.001),
        "int4": ("int4", 300, 1_590_000, 0.006), "int8-v8": ("int8", 8, 84_300, 0.03),
        "top_k": ("top_k 5", 8, 21_000, 0.09)}  # fmt: skip
"""Label sets: codec, views, bytes, and what they cost in accuracy."""


def label_sets(students=("convnet",), seeds=(0, 1, 2)):
    """Soft-label students of several label sets, for the curve of accuracy against bytes."""
    plain = [e for e in evaluations(students, seeds) if e["labels"] == "hard" or e["data"] == "full"]
    key = Key(("demo", "label sets"))
    for student in students:
        for name, (codec, views, size, loss) in SETS.items():
            for data in ("condensed", "random"):
                for seed in seeds:
                    jitter = 0.008 * float(key.child(student, name, data, seed).normal(1)[0])
                    top1 = min(0.999, SCORES[data, "soft"] - (1.0 if data == "condensed" else 1.6) * loss + jitter)
                    plain.append({
                        "data": data, "labels": "soft", "student": student, "ipc": 10, "seed": seed, "top1_last": top1,
                        "top1_best": top1, "top5_last": 0.99, "epochs": 300, "wall_s": 40.0, "label_bytes": size,
                        "label_set": name, "codec": codec, "views": views,
                    })  # fmt: skip
    return plain


def by_class(names, students=("convnet", "resnet"), images=36):
    """Hits of each class around the scores of the demo."""
    out = []
    for student in students:
        for labels in ("soft", "hard"):
            for data in ("condensed", "random"):
                spread = Key(("demo", "classes", student, labels, data)).normal(len(names))
                top1 = np.clip(SCORES[data, labels] - 0.05 + 0.09 * spread, 0.0, 1.0)
                hits, count = np.round(top1 * images).astype(int), np.full(len(names), images)
                out.append({"data": data, "labels": labels, "augment": "protocol", "student": student, "ipc": 10,
                            **summary(hits, count, names)})  # fmt: skip
    return out


HOURS = {"device": "CPU", "squeeze": 0.0036, "synthesize": 0.218, "relabel": 0.026, "evaluate": 0.19, "total": 0.4376}


def picture(key, side, sharp):
    """A blurred blob of colour with noise, u8 [side, side, 3]; the sharper the more structure."""
    coarse = key.child("coarse").uniform(max(2, side // 4), max(2, side // 4), 3)
    big = np.kron(coarse, np.ones((side // coarse.shape[0] + 1, side // coarse.shape[0] + 1, 1)))[:side, :side]
    fine = key.child("fine").uniform(side, side, 3)
    return np.round(255 * (sharp * big + (1 - sharp) * fine)).astype(np.uint8)


def class_rows(names, side, condensed, real):
    key = Key(("demo", "pictures"))
    return [
        ClassRow(name, [picture(key.child(name, "c", i), side, 0.6) for i in range(condensed)],
                 [picture(key.child(name, "r", i), side, 0.95) for i in range(real)])
        for name in names
    ]  # fmt: skip


def curves(entries):
    out = []
    for e in entries:
        grid = np.unique(np.round(np.linspace(1, e["epochs"], 16)).astype(int)).tolist()
        wobble = 0.012 * Key(("demo", "curve", e["data"], e["labels"], e["student"], e["seed"])).normal(len(grid))
        top1 = [
            float(e["top1_last"] * (1 - 0.88 * np.exp(-4.5 * g / e["epochs"])) + w)
            for g, w in zip(grid, wobble, strict=True)
        ]
        loss = [float(2.3 * np.exp(-4 * g / e["epochs"]) + 0.03 + abs(w)) for g, w in zip(grid, wobble, strict=True)]
        out.append(Curve(e["data"], e["labels"], e["student"], e["seed"], grid, [*top1[:-1], e["top1_last"]], loss))
    return out


def objective():
    steps = list(range(0, 2001, 50))
    terms = {}
    for name, start, end in (
        ("cross_entropy", 6.9, 0.004),
        ("bn_statistics", 310.0, 12.0),
        ("total_variation", 0.8, 0.31),
        ("l2", 5e-5, 2e-5),
    ):
        t = np.asarray(steps) / steps[-1]
        mean = end + (start - end) * np.exp(-6 * t) * (1 + 0.08 * np.sin(20 * t))
        terms[name] = Term(steps, mean.tolist(), (mean * 0.7).tolist(), (mean * 1.5).tolist())
    return terms


def lanes(workers=4):
    out = []
    for w in range(workers):
        name = f"10.0.3.{17 + w}/synth-{w}"
        starts = np.arange(14 + 2 * w, 190, 21.0)
        out.append(WorkerLane("synthesize", name, [(float(s), float(s + 20.2)) for s in starts], len(starts)))
        out.append(WorkerLane("relabel", name, [(215.0 + w, 236.0 - 2 * w)], 3))
        out.append(WorkerLane("evaluate", name, [(240.0 + i * 42, 280.0 + i * 42) for i in range(4)], 4))
    return out


def full_report(side=8, classes=10, condensed=10, real=5, name="digits-sre2l"):
    names = (
        [f"{i}" for i in range(classes)]
        if side == 8
        else [f"n0{1440764 + i}: some long-winded kind of bird, {i}" for i in range(classes)]
    )
    key = Key(("demo", "evolution"))
    steps = (0, 100, 250, 500, 1000, 2000)
    strips = [
        Evolution(n, [(s, picture(key.child(n), side, min(0.9, 0.05 + s / 2200))) for s in steps]) for n in names[:3]
    ]
    entries = evaluations()
    return ReportData(
        run=name,
        created="2026-11-21 12:40 UTC",
        versions={"raydc": "0.1.0", "python": "3.11.7", "torch": "2.15.0", "ray": "2.58.0"},
        config_yaml="name: digits-sre2l\nseed: 0\nsynthesize:\n  ipc: 10\n  steps: 2000\n",
        method_title="Squeeze, Recover and Relabel",
        method_paper="arXiv:2306.13092",
        dataset_id="sha256:5d1f0c7be3aa19f02c",
        dataset_url="s3://bucket/runs/digits-sre2l/dataset",
        dataset_bytes={"images": 24_310, "labels": 3_610_000},
        classes=classes,
        ipc=condensed,
        image_size=side,
        class_rows=class_rows(names, side, condensed, real),
        evolutions=strips,
        objective=objective(),
        verifiers=verifiers(),
        curves=curves(entries),
        evaluations=entries,
        by_class=by_class(names),
        device_hours=HOURS,
        teachers=[TeacherNote("resnet", "small resnet [16, 32, 64]", 0.986, "9b1c" * 16, "trained here, 60 epochs")],
        stage_seconds={
            "squeeze": 13.0, "synthesize": 196.0, "pack": 1.4, "relabel": 24.0, "evaluate": 171.0, "report": 2.1,
        },
        worker_seconds=lanes(),
        notes=["Block i00003-c00000 was tried twice: its worker was preempted.", "Test images: 360, held out."],
    )  # fmt: skip


def verifiers():
    shown = (("condensed", 0.81, 0.95), ("noise", 0.05, 0.1), ("first step", 0.14, 0.4), ("random", 0.86, 0.97))
    return [
        VerifierScore(name, data, top1 - drop, top5 - drop / 2, 100)
        for name, drop in (("efficientnet_lite1", 0.0), ("efficientnet_lite2", 0.04))
        for data, top1, top5 in shown
    ]
