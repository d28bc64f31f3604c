"""The synthesis stage: blocks to the pool, for the product and for the controls that stand beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from raydc.condense.initialize import least_images
from raydc.config.axes.initialize import Real
from raydc.engine import selection
from raydc.engine.block_maker import Recipe, Work
from raydc.engine.execution.settle import settle_synthesis
from raydc.engine.receipts import done
from raydc.engine.run import Run
from raydc.engine.synthesizer import Synthesizer
from raydc.engine.worker import through
from raydc.errors import DataError
from raydc.plan.blocks import GROUPS, Block, units
from raydc.sources.base import Source
from raydc.sources.classes import select


def recipe(run: Run, dataset: str) -> Recipe:
    """How a data set of this run is made: the method itself, or a control as a point of the same space."""
    synth = run.config.synthesize
    if dataset == "condensed":
        return Recipe(dataset, synth, tuple(run.config.guides) if synth.steps else ())
    drawn: dict[str, Any] = {"initialize": Real(use="real"), "steps": 0, "rounds": 1, "stages": None}
    return Recipe(dataset, synth.model_copy(update=drawn))


def blocks_of(run: Run, classes: list[str]) -> list[Block]:
    """The canonical blocks of the product, and so of its random control."""
    synth = run.config.synthesize
    picked = select(synth.classes, classes, "synthesize.classes")
    return GROUPS[synth.blocks.group](picked, synth.ipc, synth.blocks.size)


def works(run: Run, made: Recipe, blocks: list[Block]) -> list[Work]:
    """The units of a data set."""
    return [Work(made.dataset, together) for together in units(blocks, made.synthesize, run.config.engine)]


def check_counts(run: Run, blocks: list[Block], made: Recipe, classes: list[str], source: Source | None) -> None:
    """Refuse a real start that a class has too few images for, before any work is done.

    Raises:
        DataError: with the classes and their counts.
    """
    how = made.synthesize.initialize
    by_class = any(getattr(term, "category", 0) and term.weight for term in made.synthesize.objective)
    wanted = Counter(label for block in blocks for label in block.classes)  # an adopted set may be uneven
    floor = int(by_class and made.synthesize.steps > 0)
    need = {ipc: max(least_images(how, ipc), floor) for ipc in set(wanted.values())}
    if not any(need.values()) or source is None:
        return
    counts = source.train.counts(len(classes))
    short = sorted(label for label, ipc in wanted.items() if counts[label] < need[ipc])
    if short:
        least = max(need[wanted[label]] for label in short)
        named = ", ".join(f"'{classes[c]}' has {counts[c]}" for c in short[:5]) + (", ..." if len(short) > 5 else "")
        mend = "choose another synthesize.initialize" if made.dataset == "condensed" else \
            "leave 'random' out of evaluate.data"  # fmt: skip
        mend = f"Lower synthesize.ipc, or {mend}" if run.config.adopt is None else mend.capitalize()
        raise DataError(
            f"{made.dataset}: {least} different real images a class are asked for (initialize {how.use}), but "
            f"{len(short)} of {len(classes)} classes have fewer training images ({named}). "
            f"{mend}"
        )


def synthesize(
    run: Run, blocks: dict[str, list[Block]], source: list[Any], start: Callable[..., None], emit: Callable[..., None]
) -> None:
    """Make every block, of every data set, that has no marker yet; before them what a teacher must choose for them,
    and how the steps are executed.

    Args:
        run: the run.
        blocks: of each data set.
        source: the real data in the object store, in a list; empty where there are no images.
        start: takes (blocks in all, blocks done, name of the unit).
        emit: takes events.

    Raises:
        DataError, ClusterError: some blocks failed for good; the others are done.
    """
    recipes = {d: recipe(run, d) for d in blocks}
    every = [work for d, wanted in blocks.items() for work in works(run, recipes[d], wanted)]
    finished = {d: done(run.blocks(d)) for d in blocks}
    todo = [work for work in every if not finished[work.dataset].issuperset(b.id for b in work.blocks)]
    for dataset in {work.dataset: None for work in todo}:
        labels = {label for block in blocks[dataset] for label in block.classes}
        selection.select(run, dataset, recipes[dataset].synthesize, labels, source, emit)
    for dataset in {work.dataset: None for work in todo}:
        if recipes[dataset].teachers:
            settle_synthesis(run, recipes[dataset], blocks[dataset], source, emit)
    noun = "block" if run.config.engine.blocks_per_launch == 1 else "launch"
    start(len(every), len(every) - len(todo), noun)
    if todo:
        through(Synthesizer, (run, recipes, source), todo, run.config.engine, emit, noun)
