"""How the teachers that label are executed: as the config says, or as a trial on one of the run's workers has found.

The choice is made once for an ensemble and a number of views, when the first label of them is asked for, and stands in
``execution.json`` beside that of synthesis: stored labels and live ones go by it.
"""

from __future__ import annotations

from raydc.config import digest
from raydc.config.axes.execution import EAGER, EXECUTIONS, Execution
from raydc.engine.ensemble import teacher_names
from raydc.engine.execution.kept import known
from raydc.engine.run import Run


def labelling(run: Run) -> Execution:
    """How the labelling teachers of a run are executed; eagerly as long as nothing else was settled."""
    named: str = run.config.engine.execution.relabel
    if named == "auto":
        found = known(run).get("relabel", {}).get(question(run))
        named = EAGER.name if found is None else found["chosen"]
    return EXECUTIONS[named]


def question(run: Run) -> str:
    """Which choice it is: who labels, and how many views are stored. Other settings of a run get a choice of their own,
    and leave this one, on which labels stand."""
    relabel = run.config.relabel
    views = max((s.views for s in relabel.sets), default=0) if relabel else 0
    return digest([relabel.asked()["teachers"] if relabel else None, teacher_names(run.config), views])[:8]
