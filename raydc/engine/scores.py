"""What metrics.json holds: the students, what their scores amount to, how they spread over classes, what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raydc.config import RunConfig
from raydc.engine import pack
from raydc.engine.evaluate import entries, labellers_of, learnt_from, results
from raydc.engine.run import Run
from raydc.report.by_class import summary
from raydc.report.events import read_events
from raydc.report.hours import HELD, Share, device_hours
from raydc.report.ranking import scores


def metrics(run: Run, classes: Sequence[str]) -> dict[str, Any]:
    """The numbers of a run whose students are trained."""
    found = entries(run)
    return {
        "evaluations": found,
        "dd_ranking": [score.plain() for score in scores(found)],
        "by_class": by_class(run, classes),
        "device_hours": hours(run, read_events(run.folder)),
        "dataset_id": pack.identity(run),
    }


def by_class(run: Run, classes: Sequence[str]) -> list[dict[str, Any]]:
    """How accuracy spreads over classes, for each kind of training, over its seeds."""
    counts: dict[tuple[Any, ...], np.ndarray] = {}
    for job, result in results(run):
        label_set = learnt_from(run, job).get("label_set")
        key = (job.data, job.labels, job.augment, job.student.name, label_set)
        mine = np.array([result["by_class"]["hits"], result["by_class"]["images"]], np.int64)
        counts[key] = counts.get(key, np.zeros_like(mine)) + mine
    return [
        {"data": data, "labels": labels, "augment": augment, "student": student, "ipc": run.config.synthesize.ipc,
         **({"label_set": label_set} if label_set else {}), **summary(hits, images, classes)}
        for (data, labels, augment, student, label_set), (hits, images) in counts.items()
    ]  # fmt: skip


def hours(run: Run, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The device-hours of a run's stages."""
    return device_hours(events, shares(run.config))


def shares(config: RunConfig) -> dict[str, Share]:
    """What a unit of each stage holds: networks may be trained by several workers, and labelled for by more."""
    engine = config.engine
    device, each = ("GPU", engine.gpus_per_worker) if engine.gpus_per_worker else ("CPU", engine.cpus_per_worker)
    students = config.evaluate.split + labellers_of(config) / config.evaluate.workers
    at_once = {"squeeze": config.squeeze.workers, "evaluate": students}
    return {stage: Share(device, each * at_once.get(stage, 1)) for stage in HELD}
