"""The evaluate stage: students on Ray Train, dealt to its workers, one result file a student."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any

import ray
import ray.train

from raydc.config import RunConfig, digest
from raydc.config.stages.networks import Normalize
from raydc.engine.context import working_on
from raydc.engine.device import device
from raydc.engine.ensemble import teacher_names, teachers
from raydc.engine.receipts import done, present, watched
from raydc.engine.run import Run
from raydc.engine.trainers import fit
from raydc.errors import DataError
from raydc.sources.base import Source
from raydc.sources.condensed import CondensedDataset
from raydc.store import manifest as manifests
from raydc.students.feed import RealImages, StudentData
from raydc.students.protocol import StudentJob, student_jobs, train_student
from raydc.teachers.ensemble import Teachers
from raydc.teachers.feed import Images
from raydc.teachers.training import Training


def protocol_digest(config: RunConfig) -> str:
    """Eight hex digits that name how students are trained; another protocol never reuses a result.

    All settings but those that a job names, and those that change no number. Of stored labels a job names the set,
    whose name in the data set is never given to others.
    """
    whose = {"students", "data", "labels", "label_sets", "seeds", "workers", "verifiers"}
    protocol = config.evaluate.model_dump(mode="json", exclude=whose)
    labels = [config.relabel.asked(), teacher_names(config)] if config.relabel else None
    return digest([protocol, labels])[:8]


def normalize_of(config: RunConfig) -> Normalize:
    """What students' inputs are normalised by: as the first teacher that labels expects them."""
    first = teacher_names(config)[0]
    return next(t.normalize for t in config.squeeze.teachers if t.name == first)


def jobs(run: Run) -> dict[str, StudentJob]:
    """Every student of the run, by the name of its result."""
    tail = protocol_digest(run.config)
    sets = [s.name for s in run.config.relabel.sets] if run.config.relabel else []
    return {f"{job.name}-{tail}": job for job in student_jobs(run.config.evaluate, sets)}


def train_students(run: Run, source: list[Any], emit: Callable[..., None]) -> None:
    """Train every student that has no result yet."""
    folder, wanted = run.students(), jobs(run)
    finished = present(folder, wanted)
    if len(finished) == len(wanted):
        return

    def report(name: str) -> None:
        if name in wanted:
            result = folder.read_json(f"{name}.json")
            emit("unit_done", unit=wanted[name].name, seconds=result["wall_s"], worker=result["worker"], image_steps=0)

    todo = [name for name in wanted if name not in finished]
    workers = min(run.config.evaluate.workers, len(todo))
    with watched(folder, finished, report):
        # Named by what is left to do: a resumed evaluation is another group, whose progress lies in the result files.
        # A student is trained by one worker alone, so there may be as many workers as there is room for.
        config, name = {"run": run, "todo": todo, "source": source}, f"students-{digest(todo)[:8]}"
        fit(run, name, _loop, (1, workers) if workers > 1 else 1, config, lambda: far(run), emit)


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
    for name, job in jobs(run).items():
        if not run.students().exists(f"{name}.json"):
            continue
        result = run.students().read_json(f"{name}.json")
        found.append(
            {
                "data": job.data,
                "labels": job.labels,
                "student": job.student.name,
                "ipc": run.config.synthesize.ipc,
                "seed": job.seed,
                **{k: result[k] for k in ("top1_last", "top1_best", "top5_last", "epochs", "steps", "wall_s")},
                **learnt_from(run, job),
            }
        )
    return found


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
        self.jobs = jobs(run)
        self.data: dict[str, StudentData] = {}

    @cached_property
    def tests(self) -> Images:
        """The validation images."""
        return Images(self.source, self.source.validation)

    @cached_property
    def teachers(self) -> Teachers:
        """The labelling teachers."""
        return teachers(self.run, self.device)

    def _data(self, job: StudentJob) -> StudentData:
        if job.data not in self.data:
            self.data[job.data] = (
                RealImages(Images(self.source, self.source.train))
                if job.data == "full"
                else CondensedDataset(self.run.dataset(job.data))
            )
        data = self.data[job.data]
        if isinstance(data, CondensedDataset) and job.stored:
            return data.labelled(job.stored.set, job.stored.views, job.stored.draw)
        return data

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
        training = self._training(job, state)
        began = saved = time.time()
        for _ in training:
            if time.time() - saved > self.run.config.engine.checkpoint_seconds:
                states.write(f"{name}.safetensors", training.state())
                states.write_json(f"{name}.json", {"epoch": training.records[-1].epoch})
                saved = time.time()
        result = {
            **training.result(),
            "records": [r.model_dump() for r in training.records],
            "wall_s": training.seconds,
            "began": began,
            "worker": f"rank {self.rank}",
        }
        folder.write_json(f"{name}.json", result)
        for ending in ("safetensors", "json"):
            states.remove(f"{name}.{ending}")

    def _training(self, job: StudentJob, state: bytes | None) -> Training:
        config, fresh = self.run.config, job.stored is None
        return train_student(
            job,
            self._data(job),
            self.tests,
            config.evaluate,
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
