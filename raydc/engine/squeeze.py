"""The squeeze stage: every teacher becomes a safetensors file and a record in the run folder, trained or fetched."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import ray
import ray.train
from torch import distributed

from raydc.config.stages.squeeze import TeacherConfig
from raydc.engine.capacity import options
from raydc.engine.context import working_on
from raydc.engine.device import device
from raydc.engine.failures import wait
from raydc.engine.receipts import done, watched
from raydc.engine.run import Run
from raydc.engine.trainers import fit
from raydc.engine.weights import read_record
from raydc.sources.base import Source
from raydc.store.folder import Folder
from raydc.teachers.teacher import TeacherRecord, adopt, load
from raydc.teachers.train import keep, train_teacher
from raydc.teachers.trial import trial

STATE = "state.safetensors"


def squeeze(run: Run, source: list[Any], classes: list[str], emit: Callable[..., None]) -> None:
    """Commit every teacher that the run folder does not hold yet."""
    there = made(run)
    # Fetched ones first: a wrong URL or class count must not be told after another teacher has been trained.
    for config in sorted(run.config.teachers, key=lambda t: t.train is not None):
        if config.name not in there:
            began = time.time()
            if config.train is not None:
                _train(run, config, source, emit)
                warning = at_chance(read_record(run.teachers(), config.name), len(classes))
                if warning:
                    emit("note", text=warning)
            else:
                fetch(run, run.teachers(), [config], classes, source)
            took = {"began": began, "seconds": time.time() - began}
            emit("unit_done", unit=config.name, worker=config.name, image_steps=0, **took)


def made(run: Run) -> set[str]:
    """The teachers of which the run folder has the record and the weights; one that has lost either is made again."""
    files = {t.name: {f"{t.name}.json", f"{t.name}.safetensors"} for t in run.config.teachers}
    found = run.teachers().present(chain.from_iterable(files.values()))
    return {name for name, both in files.items() if both <= found}


def at_chance(record: TeacherRecord, classes: int) -> str | None:
    """What to say of a trained teacher that is hardly better than guessing: whatever follows from it will be too."""
    if record.top1 is None or record.top1 >= min(1.5 / classes, 1 / classes + 0.05):
        return None
    return (
        f"teacher '{record.name}' puts {100 * record.top1:.1f} % of validation images into their class, and chance "
        f"{100 / classes:.1f} %: images and labels made with it will teach next to nothing. Train it longer, or "
        "lower its learning rate"
    )


def describe(run: Run, name: str) -> str:
    """One line about a committed teacher."""
    record = read_record(run.teachers(), name)
    return f"{name} ({record.arch.name})" + (f" {100 * record.top1:.1f} % top-1" if record.top1 is not None else "")


def fetch(run: Run, folder: Folder, teachers: list[TeacherConfig], classes: list[str], source: list[Any]) -> None:
    """Fetch foreign weights, hold them against architecture, class list and real images, and commit them to a folder.

    Raises:
        DataError: weights that cannot be read, do not fit, or know nothing of the data set.
    """
    shown = source if run.config.data.use != "none" else []
    task = ray.remote(_fetch).options(**options(run.config.engine))
    wait([task.remote(run, folder, t, classes, shown) for t in teachers])


def _fetch(run: Run, folder: Folder, config: TeacherConfig, classes: list[str], source: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "weights"
        record = adopt(config, classes, run.config.data.image_size, path)
        if source:
            known = trial(load(record, path, device(run.config.engine)), ray.get(source[0]))
            record = record.model_copy(update={"top1": known})
        commit(folder, record, path)


def commit(folder: Folder, record: TeacherRecord, path: Path) -> None:
    """Write weights, then the record that says they are there."""
    folder.write(f"{record.name}.safetensors", path.read_bytes())
    folder.write_json(f"{record.name}.json", record.model_dump(mode="json"))


def _train(run: Run, config: TeacherConfig, source: list[Any], emit: Callable[..., None]) -> None:
    progress = run.work("squeeze", config.name)

    def report(name: str) -> None:
        r = progress.read_json(f"{name}.json")
        top1 = f", validation {100 * r['top1']:.1f} % top-1" if r["top1"] is not None else ""
        epochs = config.train and config.train.epochs
        emit("progress", text=f"{config.name}: epoch {r['epoch']} of {epochs}, loss {r['loss']:.3f}{top1}")

    with watched(progress, done(progress), report):
        loop_config = {"run": run, "teacher": config, "source": source}
        workers = run.config.squeeze.workers  # part of the result: sums are rounded by their order
        fit(run, f"teacher-{config.name}", _loop, workers, loop_config, lambda: done(progress), emit)


def _loop(config: dict[str, Any]) -> None:
    """A Ray Train worker."""
    teacher = config["teacher"]
    with working_on(config["run"], f"teacher {teacher.name}", "squeeze.teachers"):
        _train_one(config["run"], teacher, ray.get(config["source"][0]))


def _train_one(run: Run, teacher: TeacherConfig, source: Source) -> None:
    """Train, checkpoint every few epochs, and let rank 0 commit the teacher."""
    world, rank = ray.train.get_context().get_world_size(), ray.train.get_context().get_world_rank()
    training = train_teacher(
        teacher,
        source,
        run.key,
        device=device(run.config.engine),
        group=distributed.group.WORLD if world > 1 else None,
        state=last_state(),
    )
    every = teacher.train.checkpoint_every if teacher.train else 1
    for record in training:
        if record.epoch % every and record.epoch < training.epochs:
            continue
        if rank == 0:
            run.work("squeeze", teacher.name).write_json(f"e{record.epoch:05d}.json", record.model_dump())
        report_state(training.state() if rank == 0 else None, {"epoch": record.epoch})
    if rank == 0:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "weights"
            commit(run.teachers(), keep(training, teacher, source, path), path)


def last_state() -> bytes | None:
    """The state in the last checkpoint of this training, if it has one."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return (Path(folder) / STATE).read_bytes()


def report_state(state: bytes | None, metrics: dict[str, Any]) -> None:
    """Hand a state to Ray Train as a checkpoint; every rank must call this, one of them with the state."""
    with tempfile.TemporaryDirectory() as scratch:
        if state is not None:
            (Path(scratch) / STATE).write_bytes(state)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint(scratch) if state is not None else None)
