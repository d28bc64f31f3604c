"""The evaluate stage: students on Ray Train, dealt to its workers, one result file a student."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from typing import Any

import ray
import ray.train
from torch import distributed

from raydc.config import RunConfig, digest
from raydc.config.axes.execution import EAGER, Execution
from raydc.config.stages.evaluate import EvaluateConfig
from raydc.engine.bench import Bench
from raydc.engine.capacity import room
from raydc.engine.context import working_on
from raydc.engine.ensemble import stored, teacher_names
from raydc.engine.execution.labelling import labelling
from raydc.engine.execution.settle import settle_labelling
from raydc.engine.live import streamed
from raydc.engine.receipts import done, present, watched
from raydc.engine.run import Run
from raydc.engine.shelf import Shelf
from raydc.engine.trainers import fit
from raydc.errors import ClusterError, ConfigError, DataError, nearest
from raydc.plan.cost import live_students
from raydc.store import manifest as manifests
from raydc.students.protocol import StudentJob, best_rate, student_jobs, trial_jobs, with_rate


def protocol_digest(config: RunConfig, execution: Execution = EAGER) -> str:
    """Eight hex digits that name how students are trained; another protocol never reuses a result.

    Of stored labels a job names the set, whose name in the data set is never given to others.

    Args:
        config: of the run.
        execution: of the teachers that label while students learn.
    """
    labels = [config.relabel.asked(), teacher_names(config)] if config.relabel else None
    if labels and execution != EAGER and live_students(config):
        labels.append(execution.name)
    trials = config.evaluate.seeds[0] if config.evaluate.select else None  # the seed that rates are tried with
    trained = config.engine.execution.evaluate
    return digest([config.evaluate.effective(), labels, trials, *([] if trained == EAGER.name else [trained])])[:8]


def jobs(run: Run) -> dict[str, StudentJob]:
    """Every student of the run, by the name of its result."""
    return _named(run, student_jobs(run.config.evaluate, run.config.label_sets))


def trials(run: Run) -> dict[str, StudentJob]:
    """The trials that settle the learning rates of a run's students, by the names of their results."""
    return _named(run, trial_jobs(run.config.evaluate, run.config.label_sets))


def _named(run: Run, found: Iterable[StudentJob]) -> dict[str, StudentJob]:
    tail = protocol_digest(run.config, labelling(run))
    return {f"{job.name}-{tail}": job for job in found}


def check_label_sets(run: Run) -> None:
    """Refuse label sets that students are to learn from and that nobody will have made by then.

    Raises:
        ConfigError: the run stores none of that name and the data set has none, or it has fewer views.
    """
    wanted, relabel = run.config.evaluate.label_sets, run.config.relabel
    if not wanted or relabel is None or not stored(run.config) or run.config.adopt is not None:
        return
    known = {s.name: s.views for s in relabel.sets}
    if run.dataset("condensed").exists(manifests.MANIFEST):
        known |= {name: s.views for name, s in manifests.read(run.dataset("condensed")).label_sets.items()}
    for labels in wanted:
        if labels.set not in known:
            raise ConfigError(
                f"evaluate.label_sets has '{labels.set}'{nearest(labels.set, list(known))}, but the run stores "
                f"{list(known)}. Add it to relabel.also, or make it before: `raydc relabel` with --set relabel.name"
            )
        if labels.views and labels.views > known[labels.set]:
            raise ConfigError(
                f"evaluate.label_sets asks for {labels.views} views of '{labels.set}', which has {known[labels.set]}"
            )


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
    if live_students(run.config):
        settle_labelling(run, emit)
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
    labellers = labellers_of(run.config) if any(streamed(run.config, wanted[name]) for name in todo) else 0
    at_once, split = at_a_time(run.config, len(todo), labellers, emit), run.config.evaluate.split
    with watched(folder, finished, report):
        # Named by what is left to do: a resumed evaluation is another group, whose progress lies in the result files.
        # Students do not know of each other, so there may be as many at once as there is room for.
        config = {"run": run, "todo": todo, "source": source, "labellers": labellers}
        name = f"students-{digest(todo)[:8]}"
        fit(run, name, _loop, (split, at_once * split) if at_once > 1 else split, config, lambda: far(run), emit)
    shelf.keep(wanted)


def labellers_of(config: RunConfig) -> int:
    """Actors that label while students learn; 0 where labels are stored or students' workers make their own."""
    return 0 if config.relabel is None or stored(config) else config.relabel.labellers or 0


def at_a_time(config: RunConfig, students: int, labellers: int, emit: Callable[..., None]) -> int:
    """How many students are trained at once, so that labellers find room beside them, one for each at least.

    Raises:
        ClusterError: on this machine alone they never would.
    """
    at_once, split = min(config.evaluate.workers, students), config.evaluate.split
    if not labellers:
        return at_once
    seats, least = room(config.engine), split + labellers
    if seats >= least:
        fits = max(n for n in range(1, at_once + 1) if n == 1 or n * split + max(labellers, n) <= seats)
        if fits < at_once:
            emit("note", text=f"{fits} in place of {at_once} students at once, because there is room for {seats} "
                 f"workers, of which {max(labellers, fits)} label")  # fmt: skip
        return fits
    said = f"{labellers} labellers beside a student's {split} workers need room for {least}, and there is for {seats}"
    if not os.environ.get("RAY_ADDRESS"):
        raise ClusterError(f"{said}. Lower relabel.labellers, or leave it out and students' workers label themselves")
    emit("note", text=f"{said} now: students wait until more comes")
    return at_once


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
                "execution": result.get("execution", EAGER.name),
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
    """A Ray Train worker: with the others of its group, the students dealt to it, one after another."""
    run: Run = config["run"]
    context, split = ray.train.get_context(), run.config.evaluate.split
    rank, groups = context.get_world_rank(), context.get_world_size() // split
    place = rank // split
    group = _group(place, groups, split)
    if place >= groups:  # an elastic group may have some workers too many
        return
    labellers = config["labellers"]
    share = max(1, len(range(place, labellers, groups))) if labellers else 0
    source = ray.get(config["source"][0])
    bench = Bench(run, source, trials(run) | jobs(run), partial(settled, run), rank, group, share)
    mine = config["todo"][place::groups]
    with closing(bench):
        for n, name in enumerate(mine):
            with working_on(run, f"student {bench.jobs[name].name}", "evaluate"):
                bench.train(name, mine[n + 1 :])


def _group(place: int, groups: int, split: int) -> distributed.ProcessGroup | None:
    """The workers that train each student together, of which this one is; None: it trains alone."""
    if split == 1:
        return None
    # Every worker must take part in the making of every group, in the same order.
    made: list[Any] = [distributed.new_group(list(range(g * split, (g + 1) * split))) for g in range(groups)]
    return made[place] if place < groups else None
