"""What ``auto`` comes to: asked once a run by the stages, before their workers need it.

Little work is told by a count, so that small runs are the same everywhere; for more a worker of the run makes a trial.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from raydc.engine.block_maker import Recipe
from raydc.engine.capacity import options
from raydc.engine.execution import label_trial, step_trial
from raydc.engine.execution.kept import keep, known, little
from raydc.engine.execution.labelling import question
from raydc.engine.failures import wait
from raydc.engine.inspection import networks_of
from raydc.engine.run import Run
from raydc.engine.weights import read_record
from raydc.plan.blocks import Block, image_steps, units
from raydc.plan.cost import live_students
from raydc.store.manifest import read


def settle_synthesis(run: Run, made: Recipe, blocks: list[Block], source: list[Any], emit: Callable[..., None]) -> None:
    """Find out what ``auto`` comes to, unless it is known.

    Args:
        run: the run; its teachers are there.
        made: how its blocks are made.
        blocks: all that are to be made.
        source: the real data in the object store, in a list; empty where there are no images.
        emit: takes events.

    Raises:
        ClusterError: a worker failed.
    """
    if run.config.engine.execution.synthesize != "auto" or "synthesize" in known(run):
        return
    share = image_steps_of(run, blocks)
    found = soon(run, share, read_record(run.teachers(), run.config.guides[0]).classes)
    if found is None:
        emit("note", text="trying ways to execute the synthesis step; engine.execution.synthesize names one")
        trial: Any = ray.remote(_step_trial).options(**options(run.config.engine))
        (first, *_) = units(blocks, made.synthesize, run.config.engine)
        (found,) = wait([trial.remote(run, made, first, share, source)])
    keep(run, "synthesize", found)
    if found["tried"]:
        emit("note", text=f"the synthesis step is executed {found['chosen']}: {found['why']}")


def image_steps_of(run: Run, blocks: list[Block]) -> float:
    """The image-steps that a worker takes, if all take as many."""
    return image_steps(blocks, run.config.synthesize) / run.config.engine.workers


def soon(run: Run, share: float, classes: int) -> dict[str, Any] | None:
    """The choice where there is too little work for a compiler to pay; None where a trial must tell.

    Args:
        run: the run.
        share: image-steps that a worker takes.
        classes: of the label space.
    """
    flop = networks_of(run.config, classes).step_flop
    return None if flop is None else little(run, share * flop)


def _step_trial(run: Run, made: Recipe, blocks: tuple[Block, ...], share: float, source: list[Any]) -> dict[str, Any]:
    return step_trial.tried(run, made, blocks, share, ray.get(source[0]) if source else None)


def settle_labelling(run: Run, emit: Callable[..., None]) -> None:
    """Find out what ``auto`` comes to, unless it is known.

    Args:
        run: the run; its teachers are there and its images are packed.
        emit: takes events.

    Raises:
        ClusterError: a worker failed.
    """
    chosen = known(run).get("relabel", {})
    if run.config.engine.execution.relabel != "auto" or question(run) in chosen:
        return
    manifest = read(run.dataset("condensed"))
    labels = labels_of(run, manifest.images.count)
    found = few(run, labels, manifest.source.classes)
    if found is None:
        emit("note", text="trying ways to execute the labelling teachers; engine.execution.relabel names one")
        trial: Any = ray.remote(_label_trial).options(**options(run.config.engine))
        (found,) = wait([trial.remote(run, labels)])
    keep(run, "relabel", {**chosen, question(run): found})
    if found["tried"]:
        emit("note", text=f"the labelling teachers are executed {found['chosen']}: {found['why']}")


def _label_trial(run: Run, labels: float) -> dict[str, Any]:
    return label_trial.tried(run, labels, label_trial.first_images(run))


def labels_of(run: Run, images: int) -> float:
    """The labels that a worker makes of so many images, if all make as many: those stored, for the random images too,
    and those made while students learn."""
    config, judged = run.config, run.config.evaluate
    views = max((s.views for s in config.relabel.sets), default=0) if config.relabel else 0
    sets = 2 if judged.students and "random" in judged.data else 1
    return images * (sets * views / config.engine.workers + judged.epochs * live_students(config) / judged.workers)


def few(run: Run, labels: float, classes: int) -> dict[str, Any] | None:
    """The choice where there are too few labels for a compiler to pay; None where a trial must tell.

    Args:
        run: the run.
        labels: that a worker makes.
        classes: of the label space.
    """
    flop = networks_of(run.config, classes).label_flop
    return None if flop is None else little(run, labels * flop)
