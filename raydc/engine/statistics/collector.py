"""The actor of the statistics pass: a unit's images are read once, shown to every teacher, and their sums committed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import ray
import safetensors.torch
import torch

from raydc.engine.context import working_on
from raydc.engine.device import device
from raydc.engine.gallery import AHEAD
from raydc.engine.pipeline import Batch, told
from raydc.engine.receipts import stamp
from raydc.engine.run import Run
from raydc.engine.statistics.job import SUMS, Job
from raydc.engine.statistics.looks import Looks
from raydc.engine.statistics.units import Unit, rows_of
from raydc.engine.weights import teacher
from raydc.errors import DataError
from raydc.sources.base import Source
from raydc.teachers.feed import ahead
from raydc.teachers.statistics import Sums, moments_of_images
from raydc.teachers.teacher import Teacher


class Collector:
    """The Ray Data actor: rows of (turn, number, first, last) in, what became of them out."""

    def __init__(self, run: Run, jobs: Sequence[Job], source: list[Any]) -> None:
        self.run, self.jobs, self.source_ref = run, jobs, source
        self.device = device(run.config.engine)
        self.teachers: dict[str, Teacher] = {}

    @cached_property
    def source(self) -> Source:
        """The real data; first asked for with a unit in hand: a constructor's error would arrive as text."""
        found: Source = ray.get(self.source_ref[0])
        return found

    @cached_property
    def ends(self) -> np.ndarray:
        """Where each class ends in class order."""
        return np.cumsum(self.source.train.counts(len(self.source.classes)))

    def __call__(self, batch: Batch) -> Batch:
        return told(batch, self._unit)

    def _unit(self, row: dict[str, Any]) -> None:
        unit = Unit(row["number"], row["first"], row["last"])
        what = f"statistics of images {unit.first} to {unit.last - 1} in class order"
        with working_on(self.run, what, "squeeze.statistics"):
            self.collect(unit, row["turn"])

    def collect(self, unit: Unit, turn: int) -> None:
        """Commit the sums of a unit in one pass, for every teacher that has none of it yet."""
        began, name, config = time.time(), unit.name(turn), self.run.config.squeeze.statistics
        todo = [job for job in self.jobs if not job.work.exists(f"{name}.json")]
        rows = rows_of(self.source.train, self.ends, unit.first, unit.last)
        labels = torch.from_numpy(self.source.train.label[rows].astype(np.int64))
        counting = [Counting(job, self._teacher(job), labels, self.device) for job in todo]
        batches = [slice(first, first + config.batch) for first in range(0, len(rows), config.batch)] if todo else []
        looks = Looks(self.source, self.run.key.child("statistics"), config)
        shown = ahead((partial(looks.images, turn, rows[batch]) for batch in batches), AHEAD)
        for batch, images in zip(batches, shown, strict=True):
            x01 = images.to(self.device)
            for one in counting:
                one.add(x01, batch)
        for one in counting:
            one.commit(name, began)

    def _teacher(self, job: Job) -> Teacher:
        name = job.teacher.name
        if name not in self.teachers:
            self.teachers[name] = teacher(self.run, name, self.device)
        return self.teachers[name]


class Counting:
    """The sums of a unit under one teacher."""

    def __init__(self, job: Job, teacher: Teacher, labels: torch.Tensor, device: torch.device) -> None:
        self.job, self.teacher = job, teacher
        self.labels = labels if job.needed.classes else torch.zeros_like(labels)
        self.sums = Sums.zeros(self.labels.unique().tolist(), job.layout.width, job.needed.rows, device)

    @torch.inference_mode()
    def add(self, x01: torch.Tensor, rows: slice) -> None:
        """Add looks at some images of the unit, float32 ``[B, 3, S, S]`` in [0, 1]."""
        x = self.teacher.normalize(x01)
        self.sums.add(*moments_of_images(self.teacher.module, self.job.layout, x), self.labels[rows])

    def commit(self, name: str, began: float) -> None:
        """Write the sums, then the receipt that says they are there."""
        bad = self.sums.unusable(self.job.layout)
        if bad is not None:
            raise DataError(
                f"teacher '{self.job.teacher.name}' has values at the input of layer {bad} that are no numbers: its "
                "weights or an image are damaged"
            )
        data, work = safetensors.torch.save(self.sums.tensors()), self.job.work
        # With its digest: what a late twin wrote never stands under the name of a receipt.
        written = work.write(f"{SUMS}/{name}-{hashlib.sha256(data).hexdigest()[:12]}.safetensors", data)
        meta = stamp(began)
        counted = dict(zip(self.sums.labels.tolist(), self.sums.counts.tolist(), strict=True))
        receipt = {"file": written.path, "sha256": written.sha256, "counts": list(counted.items()), "meta": meta}
        work.write_json(f"{name}.json", receipt)
