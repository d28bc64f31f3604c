"""How the teachers that label are executed: as the config says, or as a trial on one of the run's workers has found.

The choice is made once for an ensemble and a number of views, when the first label of them is asked for, and stands in
``execution.json`` beside that of synthesis: stored labels and live ones go by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from raydc.config import digest
from raydc.config.axes.execution import EAGER, EXECUTIONS, Execution
from raydc.engine.capacity import options
from raydc.engine.ensemble import teacher_names
from raydc.engine.execution import keep, known, little
from raydc.engine.failures import wait
from raydc.engine.run import Run
from raydc.plan.cost import live_students
from raydc.store.manifest import read
from raydc.teachers.flops import forward_flop


def labelling(run: Run) -> Execution:
    """How the labelling teachers of a run are executed; eagerly as long as nothing else was settled."""
    named: str = run.config.engine.execution.relabel
    if named == "auto":
        found = known(run).get("relabel", {}).get(_question(run))
        named = EAGER.name if found is None else found["chosen"]
    return EXECUTIONS[named]


def settle_labelling(run: Run, emit: Callable[..., None]) -> None:
    """Find out what ``auto`` comes to, unless it is known.

    Args:
        run: the run; its teachers are there and its images are packed.
        emit: takes events.

    Raises:
        ClusterError: a worker failed.
    """
    chosen = known(run).get("relabel", {})
    if run.config.engine.execution.relabel != "auto" or _question(run) in chosen:
        return
    manifest = read(run.dataset("condensed"))
    labels = share_of(run, manifest.images.count)
    found = little(run, labels * label_flop(run, manifest.source.classes))
    if found is None:
        emit("note", text="trying ways to execute the labelling teachers; engine.execution.relabel names one")
        trial: Any = ray.remote(_trial).options(**options(run.config.engine))
        (found,) = wait([trial.remote(run, labels)])
    keep(run, "relabel", {**chosen, _question(run): found})
    if found["tried"]:
        emit("note", text=f"the labelling teachers are executed {found['chosen']}: {found['why']}")


def _question(run: Run) -> str:
    """Which choice it is: who labels, and how many views are stored. Other settings of a run get a choice of their own,
    and leave this one, on which labels stand."""
    relabel = run.config.relabel
    views = max((s.views for s in relabel.sets), default=0) if relabel else 0
    return digest([relabel.asked()["teachers"] if relabel else None, teacher_names(run.config), views])[:8]


def share_of(run: Run, images: int) -> float:
    """The labels that a worker makes of so many images, if all make as many: those stored, for the random images too,
    and those made while students learn."""
    config, judged = run.config, run.config.evaluate
    views = max((s.views for s in config.relabel.sets), default=0) if config.relabel else 0
    sets = 2 if judged.students and "random" in judged.data else 1
    return images * (sets * views / config.engine.workers + judged.epochs * live_students(config) / judged.workers)


def label_flop(run: Run, classes: int) -> float:
    """Operations of one label: a forward pass of every teacher that labels."""
    side, archs = run.config.data.image_size, {t.name: t.arch for t in run.config.squeeze.teachers}
    return sum(forward_flop(archs[name], classes, side) for name in teacher_names(run.config))


def _trial(run: Run, labels: float) -> dict[str, Any]:
    from raydc.engine.label_trial import tried  # it needs the labeller, which needs this module

    return tried(run, labels)
