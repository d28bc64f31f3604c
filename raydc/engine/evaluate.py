"""The evaluate stage: students on Ray Train, dealt to its workers, one result file a student."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any

import ray
import ray.train

from raydc.config import RunConfig, digest
from raydc.config.stages.evaluate import EvaluateConfig
from raydc.engine.context import working_on
from raydc.engine.device import device
from raydc.engine.ensemble import normalize_of, teacher_names, teachers
from raydc.engine.receipts import done, present, watched
from raydc.engine.run import Run
from raydc.engine.shelf import Shelf
from raydc.engine.trainers import fit
from raydc.errors import DataError, Diverged
from raydc.sources.base import Source, Split
from raydc.sources.condensed import CondensedDataset
from raydc.sources.holdout import hold_out
from raydc.store import manifest as manifests
from raydc.students.feed import RealImages, StudentData
from raydc.students.protocol import StudentJob, best_rate, student_jobs, train_student, trial_jobs, with_rate
from raydc.teachers.ensemble import Teachers
from raydc.teachers.feed import Images
from raydc.teachers.training import Training


def protocol_digest(config: RunConfig) -> str:
    """Eight hex digits that name how students are trained; another protocol never reuses a result.

    Of stored labels a job names the set, whose name in the data set is never given to others.
    """
    labels = [config.relabel.asked(), teacher_names(config)] if config.relabel else None
    return digest([config.evaluate.effective(), labels])[:8]


def jobs(run: Run) -> dict[str, StudentJob]:
    """Every student of the run, by the name of its result."""
    return _named(run, student_jobs(run.config.evaluate, run.config.label_sets))


def trials(run: Run) -> dict[str, StudentJob]:
    """The trials that settle the learning rates of a run's students, by the names of their results."""
    return _named(run, trial_jobs(run.config.evaluate, run.config.label_sets))


def _named(run: Run, found: Iterable[StudentJob]) -> dict[str, StudentJob]:
    tail = protocol_digest(run.config)
    return {f"{job.name}-{tail}": job for job in found}


def settled(run: Run, job: StudentJob) -> EvaluateConfig:
    """The protocol of one student: with the rate that is tried, or the one that its trials have chosen."""
    config = run.config.evaluate
    if job.lr is not None:  # one test, for the last epoch decides
        return with_rate(config, job.lr).model_copy(update={"test_every": config.epochs})
    mine = {"seed": config.seeds[0], "lr": None}
    tried = {name: t for name, t in trials(run).items()
             if t.model_copy(update=mine) == job.model_copy(update=mine)}  # fmt: skip
    found = {t.lr: run.students().read_json(f"{name}.json")["top1_last"] for name, t in tried.items() if t.lr}
    return with_rate(config, best_rate(found) if found else None)


def train_students(run: Run, source: list[Any], emit: Callable[..., None]) -> None:
    """Train every student that has no result yet, after the trials that choose its learning rate."""
    for wanted in (trials(run), jobs(run)):
        if wanted:
            _train_all(run, wanted, source, emit)


def _train_all(run: Run, wanted: dict[str, StudentJob], source: list[Any], emit: Callable[..., None]) -> None:
    folder = run.students()
    shelf = Shelf.of(run, source)
    finished = present(folder, wanted)
    if len(finished) < len(wanted):
        finished |= shelf.take({name: job for name, job in wanted.items() if name not in finished}, emit)
    if len(finished) == len(wanted):
        shelf.keep(wanted)
        return

    def report(name: str) -> None:
        if name in wanted:
            result = folder.read_json(f"{name}.json")
            emit("unit_done", unit=wanted[name].name, seconds=result["wall_s"], worker=result["worker"], image_steps=0)
            shelf.keep({name: wanted[name]})

    todo = [name for name in wanted if name not in finished]
    workers = min(run.config.evaluate.workers, len(todo))
    with watched(folder, finished, report):
        # Named by what is left to do: a resumed evaluation is another group, whose progress lies in the result files.
        # A student is trained by one worker alone, so there may be as many workers as there is room for.
        config, name = {"run": run, "todo": todo, "source": source}, f"students-{digest(todo)[:8]}"
        fit(run, name, _loop, (1, workers) if workers > 1 else 1, config, lambda: far(run), emit)
    shelf.keep(wanted)


def far(run: Run) -> list[Any]:
    """How far the students of a run are: the finished ones, and the epochs of the others."""
    states = run.work("students")
    epochs = []
    for name in states.list():
        if name.endswith(".json"):
            with suppress(DataError):  # it was finished a moment ago
                epochs.append((name, states.read_json(name)))
    return [sorted(done(run.students())), epochs]


def entries(run: Run) -> list[dict[str, Any]]:
    """The ``evaluations`` of metrics.json, in the order of the protocol."""
    found = []
    for job, result in results(run):
        found.append(
            {
                "data": job.data,
                "labels": job.labels,
                "augment": job.augment,
                "student": job.student.name,
                "ipc": run.config.synthesize.ipc,
                "seed": job.seed,
                **{k: result[k] for k in ("top1_last", "top1_best", "top5_last", "epochs", "steps", "lr", "wall_s")},
                **learnt_from(run, job),
                **({"from_store": True} if "kept_by" in result else {}),
            }
        )
    return found


def results(run: Run) -> Iterator[tuple[StudentJob, dict[str, Any]]]:
    """Every student that has a result, with it, in the order of the protocol."""
    for name, job in jobs(run).items():
        if run.students().exists(f"{name}.json"):
            yield job, run.students().read_json(f"{name}.json")


def learnt_from(run: Run, job: StudentJob) -> dict[str, Any]:
    """The stored soft labels that a student was trained with, and their bytes; live and hard labels store none."""
    if job.labels == "hard" or job.stored is None:
        return {"label_bytes": 0}
    labels = manifests.open_label_set(manifests.read(run.dataset(job.data)), job.stored.set)
    views = job.stored.views or labels.views
    return {
        "label_set": job.stored.called,
        "codec": " ".join(map(str, [labels.codec.use, *labels.codec.settings().values()])),
        "views": views,
        # Views are equally large, so that those which are left out need not have been made.
        "label_bytes": sum(file.bytes for file in labels.files) * views // labels.views,
    }


def _loop(config: dict[str, Any]) -> None:
    """A Ray Train worker: the students dealt to its rank, one after another."""
    context = ray.train.get_context()
    bench = Bench(config["run"], ray.get(config["source"][0]), context.get_world_rank())
    for name in config["todo"][context.get_world_rank() :: context.get_world_size()]:
        with working_on(config["run"], f"student {bench.jobs[name].name}", "evaluate"):
            bench.train(name)


class Bench:
    """What the students of one worker share: data sets, test images, and the teachers that label as they learn."""

    def __init__(self, run: Run, source: Source, rank: int) -> None:
        self.run, self.source, self.rank = run, source, rank
        self.device = device(run.config.engine)
        self.jobs = trials(run) | jobs(run)
        self.data: dict[str, StudentData] = {}

    @cached_property
    def tests(self) -> Images:
        """The validation images."""
        return Images(self.source, self.source.validation)

    @cached_property
    def parted(self) -> tuple[Split, Split]:
        """The training images without those that judge trials, and these."""
        select = self.run.config.evaluate.select
        if select is None:
            raise ValueError("nothing is selected, so nothing is held out")
        return hold_out(self.source.classes, self.source.train, select.fraction, self.run.key.child("select"))

    @cached_property
    def teachers(self) -> Teachers:
        """The labelling teachers."""
        return teachers(self.run, self.device)

    def _data(self, job: StudentJob) -> StudentData:
        name = "part" if job.data == "full" and job.lr is not None else job.data
        if name not in self.data:
            self.data[name] = (
                RealImages(Images(self.source, self.parted[0] if name == "part" else self.source.train))
                if job.data == "full"
                else CondensedDataset(self.run.dataset(job.data))
            )
        data = self.data[name]
        if isinstance(data, CondensedDataset) and job.stored:
            return data.labelled(job.stored.set, job.stored.views, job.stored.draw)
        return data

    @cached_property
    def trial_tests(self) -> Images:
        """The training images that judge trials."""
        return Images(self.source, self.parted[1])

    def train(self, name: str) -> None:
        """Train one student to its end and write its result; goes on from its checkpoint if it has one."""
        folder, states, job = self.run.students(), self.run.work("students"), self.jobs[name]
        if folder.exists(f"{name}.json"):
            return
        try:
            state = states.read(f"{name}.safetensors") if states.exists(f"{name}.safetensors") else None
        except DataError:
            if folder.exists(f"{name}.json"):  # a worker that was given up has ended it just now
                return
            raise
        protocol = settled(self.run, job)
        training = self._training(job, protocol, state)
        began = saved = time.time()
        try:
            for _ in training:
                if time.time() - saved > self.run.config.engine.checkpoint_seconds:
                    states.write(f"{name}.safetensors", training.state())
                    states.write_json(f"{name}.json", {"epoch": training.records[-1].epoch})
                    saved = time.time()
            found = training.result()
            if job.lr is None:
                found["by_class"] = training.by_class(len(self.source.classes))
        except Diverged:
            if job.lr is None:
                raise
            found = {"top1_last": 0.0, "diverged": True}  # a rate that is not to be chosen
        result = {
            **found,
            "lr": protocol.optimizer.lr,
            "records": [r.model_dump() for r in training.records],
            "wall_s": training.seconds,
            "began": began,
            "worker": f"rank {self.rank}",
        }
        folder.write_json(f"{name}.json", result)
        for ending in ("safetensors", "json"):
            states.remove(f"{name}.{ending}")

    def _training(self, job: StudentJob, protocol: EvaluateConfig, state: bytes | None) -> Training:
        config, fresh = self.run.config, job.stored is None
        return train_student(
            job,
            self._data(job),
            self.tests if job.lr is None else self.trial_tests,
            protocol,
            self.run.key,
            classes=len(self.source.classes),
            image_size=config.data.image_size,
            reference=manifests.read(self.run.dataset("condensed")).images.count,
            views=config.relabel.view if config.relabel else None,
            normalize=normalize_of(config),
            device=self.device,
            state=state,
            labeller=self.teachers.logits if fresh and job.labels == "soft" else None,
            fresh=fresh,
        )
