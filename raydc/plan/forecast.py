"""How long a run will take on the machine that was measured: each stage from seconds a step, a view, a start."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raydc.config.schema import RunConfig
from raydc.config.stages.squeeze import TeacherConfig
from raydc.plan.blocks import GROUPS, Block, image_steps, units
from raydc.plan.cost import Cost, Networks
from raydc.plan.item import Item
from raydc.plan.measured import Measured, student_kind
from raydc.plan.passes import Pass, Passes
from raydc.plan.queue import dealt, makespan

# What Ray takes for its own beside our work, in units of the start of one worker on the same machine. Not measured by a
# calibration but read once, from the events of the quick start on two cores: a worker started in 2.4 s, a group of
# Train in 9 to 11 and ended in 1, a pipeline of Data took 6.5, packing 0.35 a data set, the report 0.8. That they grow
# with the start of a worker is an assumption.
GROUP_STARTS = 4.3
"""A group of Ray Train until its loop runs, and its end: a controller, the workers, their process group."""
PIPELINE_STARTS = 2.7
"""A pipeline of Ray Data until its actors work, and its end."""
PACK_STARTS = 0.15
"""Packing a small data set on workers that are warm; more images are hashed and written at the storage's speed."""
REPORT_STARTS = 0.35
"""Pictures and page of the report."""

KEPT_BYTES = 1 << 30
"""Decoded real images are kept where a split fits into this (``teachers/feed.py``)."""
CACHED_BYTES = 2 << 30
"""The same for a condensed data set (``sources/condensed.py``)."""


@dataclass(frozen=True)
class Student:
    """A student to be trained, in the order of the protocol."""

    network: str
    data: str
    labels: str


def forecast(
    run: RunConfig, cost: Cost, students: Sequence[Student], found: Measured, networks: Networks, passes: Passes
) -> list[Item]:
    """Predict the seconds of every stage of a fresh run, and of the whole, on the measured machine."""
    looking = {"squeeze": passes.statistics, "synthesize": passes.selection}
    over = {stage: _pass(one, cost, networks, found, stage) for stage, one in looking.items()}
    stages = {
        "start": found.process + found.ray,
        "squeeze": _with(_squeeze(run, found), over["squeeze"]),
        "synthesize": _with(_synthesize(run, cost, found), over["synthesize"]),
        "pack": PACK_STARTS * found.worker * cost.sets,
        "relabel": _relabel(run, cost, found),
        "evaluate": _evaluate(run, cost, students, found),
        "report": REPORT_STARTS * found.worker,
    }
    known = sum(s for s in stages.values() if s is not None)
    lacking = ", ".join(stage for stage, s in stages.items() if s is None)
    notes = _notes(run, found, over)
    said = f"NOT KNOWN: {lacking}. All others together: {known:,.0f} s" if lacking else "of a fresh run"
    head = f"predicted with {found.workers} worker{'s' if found.workers > 1 else ''} on this machine"
    return [
        *(Item(head, f"predicted_{k}_s", k, v, "seconds", notes.get(k, "")) for k, v in stages.items()),
        Item(head, "predicted_total_s", "in all", None if lacking else known, "seconds",
             f"{said}; transfers to storage not counted"),
    ]  # fmt: skip


def _with(stage: float | None, more: float | None) -> float | None:
    return None if stage is None or more is None else stage + more


def _pass(one: Pass | None, cost: Cost, networks: Networks, found: Measured, stage: str) -> float | None:
    """Seconds of a pass over the real images; None where it cannot be told."""
    if one is None:
        return 0.0
    seconds = one.seconds(found.decode, seconds_a_flop(cost, networks, found), found.workers)
    starts = PIPELINE_STARTS if stage == "squeeze" else 1.0
    return None if seconds is None else starts * found.worker + seconds


def seconds_a_flop(cost: Cost, networks: Networks, found: Measured) -> float | None:
    """Of an operation of a forward pass: by the tests of all networks; without any by labels, or steps of a block."""
    flops = {f"teacher {name}": flop for name, flop in networks.forward.items()}
    flops |= {f"student {name}": flop for name, flop in networks.students.items()}
    tested = [seconds / flops[name] for name, seconds in found.tests.items() if flops.get(name)]
    if tested:
        return statistics.mean(tested)
    if found.view and cost.label_flop:
        return found.view.step.median * cost.labels / cost.label_flop
    if found.launch and cost.synthesis_flop:
        return found.launch.step.median / found.launch_images * cost.image_steps / cost.synthesis_flop
    return None


def _notes(run: RunConfig, found: Measured, over: Mapping[str, float | None]) -> dict[str, str]:
    group = f"{GROUP_STARTS:g} starts of a worker for Ray Train"
    unknown = "the data is not here to be counted" if found.train_images is None else ""
    labels = {
        "stored": f"{PIPELINE_STARTS:g} starts of a worker for Ray Data",
        "live": "labels are made while students learn",
    }
    return {
        "start": f"measured: process {found.process:.1f} s, Ray {found.ray:.1f} s",
        "squeeze": "; ".join(filter(None, [(unknown or group) if found.squeeze else "fetching of weights not counted",
                                           _told("the pass for statistics", over["squeeze"])])),
        "synthesize": "; ".join(filter(None, [f"one start of a worker, measured: {found.worker:.1f} s",
                                              _told("the choice of real images", over["synthesize"])])),
        "pack": f"{PACK_STARTS:g} starts of a worker a data set",
        "relabel": labels[run.relabel.mode] if run.relabel else "no labels asked for",
        "evaluate": "; ".join(filter(None, [group if found.students else "", unknown and "tests not counted",
                                            "verifiers not counted" if run.evaluate.verifiers else ""])),
    }  # fmt: skip


def _told(what: str, seconds: float | None) -> str:
    if seconds is None:
        return f"{what} NOT KNOWN"
    return f"{what} {seconds:,.1f} s, by its operations" if seconds else ""


def _squeeze(run: RunConfig, found: Measured) -> float | None:
    seconds = found.opening
    for teacher in run.squeeze.teachers:
        one = _teacher(run, teacher, found) if teacher.train else found.worker
        if one is None:
            return None
        seconds += one
    return seconds


def _teacher(run: RunConfig, teacher: TeacherConfig, found: Measured) -> float | None:
    if teacher.train is None or found.train_images is None:
        return None
    recipe, loop, ranks = teacher.train, found.squeeze[teacher.name], run.squeeze.workers
    steps = recipe.epochs * -(-found.train_images // recipe.batch)
    tests = tests_of(recipe.epochs, recipe.checkpoint_every) * (found.validation_images or 0)
    passes = 1 if _kept(run, found.train_images) else recipe.epochs
    images = passes * found.train_images + (found.validation_images or 0)
    return (
        GROUP_STARTS * found.worker + found.first_image + found.waking + steps * loop.step.median
        + (tests * found.tests[f"teacher {teacher.name}"] + images * found.decode) / ranks
    )  # fmt: skip


def _synthesize(run: RunConfig, cost: Cost, found: Measured) -> float:
    synth = run.synthesize
    blocks = GROUPS[synth.blocks.group](range(cost.classes), synth.ipc, synth.blocks.size)
    step = found.launch.step.median / found.launch_images if found.launch else 0.0
    begin = found.begin / found.launch_images

    def seconds_of(unit: Sequence[Block]) -> float:
        images = sum(map(len, unit))
        return _beside(found, begin * images + step * image_steps(unit, synth), images)

    seconds = [seconds_of(unit) for unit in units(blocks, synth, run.engine)]
    if cost.sets > 1:
        seconds += [_beside(found, len(b) * found.decode, len(b)) for b in blocks]
    first = found.waking if found.launch else 0.0
    real = synth.initialize.use != "noise" or cost.sets > 1
    return found.trial + found.worker + first + (found.first_image if real else 0.0) + makespan(seconds, found.workers)


def _beside(found: Measured, made: float, images: int) -> float:
    """Seconds of a unit, whose images are encoded beside the steps of the next: for nothing, unless both need cores."""
    encoded = images * found.encode
    return made + encoded if found.device == "cpu" else max(made, encoded)


def _relabel(run: RunConfig, cost: Cost, found: Measured) -> float:
    if run.relabel is None or run.relabel.mode == "live" or found.view is None:
        return 0.0
    image = found.shard_image + run.relabel.views * found.view.step.median
    whole, rest = divmod(cost.images, cost.label_shards)  # as even as can be
    shards = [(whole + (n < rest)) * image for n in range(cost.label_shards)]
    starts = found.label_trial + PIPELINE_STARTS * found.worker + found.view.first
    return starts + makespan(shards * cost.sets, found.workers)


def _evaluate(run: RunConfig, cost: Cost, students: Sequence[Student], found: Measured) -> float | None:
    if not students:
        return 0.0
    if found.train_images is None and any(s.data == "full" for s in students):
        return None
    judged = run.evaluate
    split = min(judged.split, found.seats)
    workers = min(judged.workers, found.seats // split, len(students))
    units = [_student(run, cost, s, found) / split for s in students]  # the exchange of gradients is not counted
    tests = found.validation_images or 0
    full = found.train_images or 0 if "full" in judged.data and _kept(run, found.train_images or 0) else 0
    read = found.first_image + (tests + full + cost.sets * cost.images * _fits(run, cost)) * found.decode
    return GROUP_STARTS * found.worker + read + found.waking + dealt(units, workers)


def _student(run: RunConfig, cost: Cost, student: Student, found: Measured) -> float:
    judged = run.evaluate
    steps = judged.epochs * max(1, -(-cost.images // judged.batch))
    kept = _kept(run, found.train_images or 0) if student.data == "full" else _fits(run, cost)
    decoded = 0 if kept else steps * judged.batch
    tested = tests_of(judged.epochs, judged.test_every) * (found.validation_images or 0)
    step = found.students[student_kind(student.network, student.data, student.labels)].step.median
    return steps * step + tested * found.tests[f"student {student.network}"] + decoded * found.decode


def _kept(run: RunConfig, images: int) -> bool:
    return images * 3 * run.data.image_size**2 <= KEPT_BYTES


def _fits(run: RunConfig, cost: Cost) -> bool:
    return cost.images * 3 * run.data.image_size**2 <= CACHED_BYTES


def tests_of(epochs: int, every: int) -> int:
    """Tests of a training: every so many epochs, and after the last."""
    return epochs // every + (epochs % every > 0)
