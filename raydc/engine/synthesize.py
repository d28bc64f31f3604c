"""The synthesis stage: blocks to the pool, for the product and for the controls that stand beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from raydc.config.components import Real
from raydc.engine.capacity import options
from raydc.engine.pool import Pool
from raydc.engine.receipts import done
from raydc.engine.run import Run
from raydc.engine.synthesizer import Recipe, Synthesizer, Work
from raydc.errors import ClusterError, DataError, RaydcError
from raydc.plan.blocks import GROUPS, Block
from raydc.sources.base import Source
from raydc.sources.classes import select


def recipe(run: Run, dataset: str) -> Recipe:
    """How a data set of this run is made: the method itself, or a control as a point of the same space."""
    synth = run.config.synthesize
    if dataset == "condensed":
        name = synth.teacher or run.config.squeeze.teachers[0].name
        return Recipe(dataset, synth, name if synth.steps else None)
    return Recipe(dataset, synth.model_copy(update={"initialize": Real(use="real"), "steps": 0}), None)


def blocks_of(run: Run, classes: list[str]) -> list[Block]:
    """The canonical blocks of the product, and so of its random control."""
    synth = run.config.synthesize
    picked = select(synth.classes, classes, "synthesize.classes")
    return GROUPS[synth.blocks.group](picked, synth.ipc, synth.blocks.size)


def check_counts(run: Run, blocks: list[Block], made: Recipe, classes: list[str], source: Source | None) -> None:
    """Refuse a real start that a class has too few images for, before any work is done.

    Raises:
        DataError: with the classes and their counts.
    """
    if made.synthesize.initialize.use != "real" or source is None:
        return
    counts = source.train.counts(len(classes))
    ipc = run.config.synthesize.ipc
    short = sorted({label for b in blocks for label in b.classes if counts[label] < ipc})
    if short:
        named = ", ".join(f"'{classes[c]}' has {counts[c]}" for c in short[:5]) + (", ..." if len(short) > 5 else "")
        raise DataError(
            f"{made.dataset}: {ipc} different real images a class are asked for, but {len(short)} of {len(classes)} "
            f"classes have fewer training images ({named}). Lower synthesize.ipc, or leave 'random' out of "
            "evaluate.data and start from noise"
        )


def synthesize(run: Run, blocks: dict[str, list[Block]], source: list[Any], emit: Callable[..., None]) -> None:
    """Make every block, of every data set, that has no marker yet.

    Raises:
        DataError, ClusterError: some blocks failed for good; the others are done.
    """
    todo = []
    for dataset, wanted in blocks.items():
        finished = done(run.blocks(dataset))
        todo += [Work(dataset, b) for b in wanted if b.id not in finished]
    if not todo:
        return
    engine, recipes = run.config.engine, {d: recipe(run, d) for d in blocks}
    # Two methods at a time: a notice of preemption gets in while a block computes.
    actor, held = ray.remote(Synthesizer), {"max_restarts": 0, "max_concurrency": 2}
    pool: Pool[Work] = Pool(
        lambda avoid: actor.options(**held, **options(engine, avoid)).remote(run, recipes, source),
        engine.workers,
        engine.max_attempts,
        on_done=lambda work, receipt: emit("unit_done", unit=work.id, **receipt),
        emit=emit,
        speculate=engine.speculate,
    )
    failed = pool.run(todo).failed
    if failed:
        name, cause = next(iter(failed.items()))
        said = str(cause) if isinstance(cause, RaydcError) else f"block {name}: {type(cause).__name__}: {cause}"
        kind = DataError if all(isinstance(c, DataError) for c in failed.values()) else ClusterError
        raise kind(f"{len(failed)} of {len(todo)} blocks failed, the others are done. First: {said}")
