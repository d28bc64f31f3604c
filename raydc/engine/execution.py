"""How a run's networks are executed: as the config says, or as a trial on one of its workers has found to be fastest.

A choice is made once a run, before the first block, and stands in ``execution.json`` of the run folder: every worker
and every later driver of the run goes by it, so that all blocks come of the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from raydc.config.axes.execution import EAGER, EXECUTIONS, Execution
from raydc.engine.capacity import options
from raydc.engine.failures import wait
from raydc.engine.inspection import networks_of
from raydc.engine.run import Run
from raydc.engine.weights import read_record
from raydc.plan.blocks import Block

FILE = "execution.json"
SOON_FLOP = {"cpu": 4e12, "cuda": 3e15}
"""Work of a worker below which no compiler is asked: half a minute (ResNet-18, 1.5e11 a second) to five (EfficientNet,
1.2e10) on a core of 2024, two on a GPU. A count and no measurement, so that small runs are the same everywhere."""


def settled(run: Run) -> Execution:
    """How the blocks of a run are made; what ``auto`` has come to is in the run folder."""
    named = run.config.engine.execution.synthesize
    if named == "auto":
        named = known(run)["synthesize"]["chosen"]
    return EXECUTIONS[named]


def known(run: Run) -> dict[str, Any]:
    """What was chosen so far, by stage."""
    return dict(run.folder.read_json(FILE)) if run.folder.exists(FILE) else {}


def keep(run: Run, stage: str, found: dict[str, Any]) -> None:
    """Write down what was chosen for a stage, beside the others; the driver alone does."""
    run.folder.write_json(FILE, {**known(run), stage: found})


def settle(run: Run, blocks: list[Block], source: list[Any], emit: Callable[..., None]) -> None:
    """Find out what ``auto`` comes to, unless it is known.

    Args:
        run: the run; its teachers are there.
        blocks: all that are to be made.
        source: the real data in the object store, in a list; empty where there are no images.
        emit: takes events.

    Raises:
        ClusterError: a worker failed.
    """
    if run.config.engine.execution.synthesize != "auto" or "synthesize" in known(run):
        return
    share = share_of(run, blocks)
    found = soon(run, share, read_record(run.teachers(), run.config.guides[0]).classes)
    if found is None:
        emit("note", text="trying ways to execute the synthesis step; engine.execution.synthesize names one")
        trial: Any = ray.remote(_trial).options(**options(run.config.engine))
        (found,) = wait([trial.remote(run, blocks[0], share, source)])
    keep(run, "synthesize", found)
    if found["tried"]:
        emit("note", text=f"the synthesis step is executed {found['chosen']}: {found['why']}")


def share_of(run: Run, blocks: list[Block]) -> float:
    """The image-steps that a worker takes, if all take as many."""
    synth = run.config.synthesize
    return sum(synth.steps - synth.begins(n) for block in blocks for n in block.indices) / run.config.engine.workers


def soon(run: Run, share: float, classes: int) -> dict[str, Any] | None:
    """The choice where there is too little work for a compiler to pay; None where a trial must tell.

    Args:
        run: the run.
        share: image-steps that a worker takes.
        classes: of the label space.
    """
    flop = networks_of(run.config, classes).step_flop
    return None if flop is None else little(run, share * flop)


def little(run: Run, flop: float) -> dict[str, Any] | None:
    """The choice for so many operations of a worker, if these are too few for a compiler to pay."""
    least = SOON_FLOP["cuda" if run.config.engine.gpus_per_worker else "cpu"]
    if flop >= least:
        return None
    why = f"{flop:.1e} operations a worker, fewer than the {least:.0e} from which on compiling pays"
    return {"chosen": EAGER.name, "why": why, "tried": []}


def _trial(run: Run, block: Block, share: float, source: list[Any]) -> dict[str, Any]:
    from raydc.engine.synthesize import recipe  # both need the worker, which needs this module
    from raydc.engine.trial import tried

    return tried(run, recipe(run, "condensed"), block, share, ray.get(source[0]) if source else None)
