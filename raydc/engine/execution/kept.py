"""How a run's networks are executed: as the config says, or as a trial on one of its workers has found to be fastest.

A choice is made once a run, before the first block, and stands in ``execution.json`` of the run folder: every worker
and every later driver of the run goes by it, so that all blocks come of the same arithmetic.
"""

from __future__ import annotations

from typing import Any

from raydc.config.axes.execution import EAGER, EXECUTIONS, Execution
from raydc.engine.run import Run

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


def little(run: Run, flop: float) -> dict[str, Any] | None:
    """The choice for so many operations of a worker, if these are too few for a compiler to pay."""
    least = SOON_FLOP["cuda" if run.config.engine.gpus_per_worker else "cpu"]
    if flop >= least:
        return None
    why = f"{flop:.1e} operations a worker, fewer than the {least:.0e} from which on compiling pays"
    return {"chosen": EAGER.name, "why": why, "tried": []}
