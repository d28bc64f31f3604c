"""The protocol: which students are trained, on what, for how long, and how they are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import distributed

from raydc.config.axes.execution import EAGER, Execution
from raydc.config.axes.views import Views
from raydc.config.load import digest
from raydc.config.stages.evaluate import EvaluateConfig, Labels
from raydc.config.stages.judging import HardViews
from raydc.config.stages.networks import Normalize, StudentConfig
from raydc.errors import DataError
from raydc.keys import Key
from raydc.students.feed import Labeller, StudentData, StudentFeed, steps_per_epoch
from raydc.students.looks import DsaLook, draws_anew, views_of
from raydc.teachers.feed import Images, whole_batches
from raydc.teachers.fit import Fit
from raydc.teachers.networks import build
from raydc.teachers.training import Training

TEST_BATCH = 256
"""Images a forward pass in tests; no result depends on it."""


class StudentJob(BaseModel):
    """One student to be trained: a unit of work with a name of its own."""

    model_config = ConfigDict(frozen=True)

    data: Literal["condensed", "random", "full"]
    labels: Literal["soft", "hard"]
    student: StudentConfig
    seed: int
    stored: Labels | None = None
    """The stored labels that it learns from, or whose views alone it sees; None: it draws views of its own."""
    augment: Literal["protocol", "none"] = "protocol"
    lr: float | None = None
    """Of a trial, which is judged on held-out training images; None: the student itself."""

    @property
    def name(self) -> str:
        """Readable, unique among the jobs of a run, safe in paths."""
        tail = digest(self.model_dump(mode="json", by_alias=True))[:8]
        labels = self.stored.called if self.stored and self.labels == "soft" else self.taught
        tried = "" if self.lr is None else f"-lr{self.lr:g}"
        return f"{self.data}-{labels}-{self.student.name}{tried}-s{self.seed}-{tail}"

    @property
    def taught(self) -> str:
        """The labels, and whether they are of whole images."""
        return self.labels if self.augment == "protocol" else f"{self.labels}-whole"


def student_jobs(config: EvaluateConfig, sets: Sequence[str] = ()) -> list[StudentJob]:
    """Every student of a protocol; seed by seed, so that an interrupted evaluation has whole comparisons.

    A student of hard labels sees the views of the first label set, so that only its targets are others.

    Args:
        config: the protocol.
        sets: the label sets that the run stores, taken in turn where the protocol names none.
    """
    stored = config.label_sets or [Labels(set=name) for name in sets]

    def kinds(data: str, labels: str, augment: str) -> list[Labels | None]:
        if not stored or data == "full" or draws_anew(config, labels, augment):
            return [None]
        return [*stored] if labels == "soft" else [stored[0]]

    return [
        StudentJob(data=data, labels=labels, student=student, seed=seed, augment=augment, stored=which)
        for seed in config.seeds
        for student in config.students
        for data in config.data
        for labels in config.labels
        for augment in config.augment
        for which in kinds(data, labels, augment)
    ]


def trial_jobs(config: EvaluateConfig, sets: Sequence[str] = ()) -> list[StudentJob]:
    """Every student of the first seed with every learning rate of ``select``; none where nothing is selected."""
    if config.select is None:
        return []
    first = [job for job in student_jobs(config, sets) if job.seed == config.seeds[0]]
    return [job.model_copy(update={"lr": lr}) for job in first for lr in config.select.lr]


def with_rate(config: EvaluateConfig, lr: float | None) -> EvaluateConfig:
    """The protocol with another learning rate; None: as it is."""
    if lr is None:
        return config
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"lr": lr})})


def best_rate(found: Mapping[float, float]) -> float:
    """The learning rate of the highest accuracy; of equals the first."""
    return max(found, key=lambda lr: found[lr])


def train_student(
    job: StudentJob,
    data: StudentData,
    tests: Images,
    config: EvaluateConfig,
    key: Key,
    *,
    classes: int,
    image_size: int,
    reference: int | None = None,
    views: Views | None = None,
    normalize: Normalize | None = None,
    device: torch.device | str = "cpu",
    state: bytes | None = None,
    labeller: Labeller | None = None,
    group: distributed.ProcessGroup | None = None,
    execution: Execution = EAGER,
) -> Training:
    """Prepare a student from scratch; iterate the result to train, one record an epoch.

    First weights and order depend on the student and its seed only: students of one seed differ by their data and
    targets and by nothing else, so their results can be compared in pairs.

    An epoch is a pass over the condensed set: whatever the data, there are as many steps in it, and the learning rate
    and the tests follow it.

    Args:
        job: which student.
        data: what ``job.data`` names, with the label set for ``soft``.
        tests: the validation images.
        config: the protocol.
        key: of the run; the job is added here.
        classes: of the data set.
        image_size: side of the student's input in pixels.
        reference: images of the condensed set; None: ``data`` is it.
        views: the views of ``relabel``, drawn where ``data`` stores none; None: the default distribution.
        normalize: of the student's input, by custom that of the data set's teacher.
        device: where to train.
        state: of :meth:`Training.state`, to go on from; None: from the beginning.
        labeller: the teachers' ``logits``, for soft targets that ``data`` does not store.
        group: of data-parallel ranks that train this student together, all calling this alike; None: alone.
        execution: of the training steps.

    Raises:
        DataError: fewer than two images.
    """
    if len(data) < 2:
        raise DataError(f"student '{job.name}' has {len(data)} images to learn from; at least 2 are needed")
    key = key.child("evaluate", job.student.name, job.seed)
    network = build(job.student.arch, classes, image_size, key.child("weights"))
    steps = steps_per_epoch(reference or len(data), config.batch)
    fit = Fit(network, config, key=key.child("steps"), pace=steps, normalize=normalize, average=config.average,
              device=device, group=group, execution=execution)  # fmt: skip
    drawn = views_of(config, job.labels, job.augment, views)
    look = DsaLook(drawn.dsa, normalize or Normalize(), device) if isinstance(drawn, HardViews) and drawn.dsa else None
    loss = job.stored.loss if job.stored and job.stored.loss else config.loss
    feed = StudentFeed(data, job.labels, key.child("views"), batch=config.batch, seed=job.seed, size=image_size,
                       views=drawn, loss=loss, steps=steps, device=device, labeller=labeller, look=look,
                       fresh=draws_anew(config, job.labels, job.augment), rank=fit.rank,
                       world=fit.world)  # fmt: skip
    judged = partial(whole_batches, tests, TEST_BATCH, device, rank=fit.rank, world=fit.world)
    training = Training(job.name, fit, feed, judged, epochs=config.epochs, test_every=config.test_every)
    if state is not None:
        training.load_state(state)
    return training
