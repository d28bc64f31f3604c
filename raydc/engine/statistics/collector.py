"""The actor of the statistics pass: a unit's images are decoded once, shown to every teacher, and their sums committed.

The views of a unit are drawn from (run, teacher, pass, unit) alone, so its sums hang on no worker and no resume.
"""

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

from raydc.condense.views import render
from raydc.engine.context import working_on
from raydc.engine.device import device
from raydc.engine.pipeline import Batch, told
from raydc.engine.run import Run
from raydc.engine.statistics.job import SUMS, Job
from raydc.engine.statistics.units import Unit, rows_of
from raydc.engine.weights import teacher
from raydc.errors import DataError
from raydc.labels.views import draw
from raydc.sources.base import Source
from raydc.teachers.feed import ahead, shifted
from raydc.teachers.statistics import Sums, moments_of_images
from raydc.teachers.teacher import Teacher

AHEAD = 2
"""Batches that are decoded while the teachers look at one."""


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
        began, name = time.time(), unit.name(turn)
        todo = [job for job in self.jobs if not job.work.exists(f"{name}.json")]
        rows = rows_of(self.source.train, self.ends, unit.first, unit.last)
        labels = torch.from_numpy(self.source.train.label[rows].astype(np.int64))
        looks = [Look(job, self._teacher(job), unit, turn, labels, self.device) for job in todo]
        size = self.run.config.squeeze.statistics.batch
        batches = [slice(first, first + size) for first in range(0, len(rows), size)] if todo else []
        decoded = ahead((partial(self.source.images, self.source.train, rows[b]) for b in batches), AHEAD)
        for batch, images in zip(batches, decoded, strict=True):
            pixels = torch.from_numpy(images.transpose(0, 3, 1, 2)).contiguous().to(self.device)
            for look in looks:
                look(pixels, batch)
        for look in looks:
            look.commit(name, began)

    def _teacher(self, job: Job) -> Teacher:
        name = job.teacher.name
        if name not in self.teachers:
            self.teachers[name] = teacher(self.run, name, self.device)
        return self.teachers[name]


class Look:
    """One teacher's look at the images of a unit."""

    def __init__(
        self, job: Job, teacher: Teacher, unit: Unit, turn: int, labels: torch.Tensor, device: torch.device
    ) -> None:
        config, side, count = job.run.config.squeeze.statistics, job.teacher.image_size, unit.last - unit.first
        key = job.key.child(turn, unit.number)
        self.job, self.teacher, self.side, self.pad = job, teacher, side, config.pad
        self.records = draw(key.child("views"), count, side, side, side, config.views)
        self.shifts = key.child("pad").integers(0, 2 * config.pad + 1, count, 2)
        self.labels = labels if job.needed.classes else torch.zeros_like(labels)
        self.sums = Sums.zeros(self.labels.unique().tolist(), job.layout.width, job.needed.rows, device)

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor, rows: slice) -> None:
        """Add some images of the unit, u8 ``[B, 3, S, S]``."""
        padded = shifted(images, self.shifts[rows], self.pad) if self.pad else images
        x = self.teacher.normalize(render(padded, self.records[rows], self.side))
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
        meta = {
            "began": began,
            "seconds": time.time() - began,
            "worker": (ray.get_runtime_context().get_actor_id() or "")[:8],
            "node": ray.get_runtime_context().get_node_id(),
        }
        counted = dict(zip(self.sums.labels.tolist(), self.sums.counts.tolist(), strict=True))
        receipt = {"file": written.path, "sha256": written.sha256, "counts": list(counted.items()), "meta": meta}
        work.write_json(f"{name}.json", receipt)
