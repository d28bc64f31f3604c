"""A trial of executions of the synthesis step: the same first steps of a block in each way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from raydc.condense.synthesize import Synthesis
from raydc.config.axes.execution import EAGER, Execution
from raydc.engine.block_maker import BlockMaker, Known, Recipe
from raydc.engine.execution.choice import Row, Watch, chosen, in_turns
from raydc.engine.run import Run
from raydc.engine.statistics import statistics_of
from raydc.plan.blocks import Block
from raydc.sources.base import Source

CANDIDATES = {"cpu": ["compiled", "compiled-bf16"], "cuda": ["graph-fp16", "compiled-fp16", "compiled"]}
LEAST_COSINE = {"fp32": 0.999, "fp16": 0.98, "bf16": 0.90}
"""Between the gradient of an execution and that of the eager one in fp32. Seen on a trained network: fp16 0.994-0.997,
as TF32, which the references ran in; bf16 0.950-0.966 (performance study, section 3); a compiler alone 0.9999."""
WARM, TURNS = 2, 3
"""Steps of each teacher: before anything is timed, and timed."""


def tried(
    run: Run, made: Recipe, blocks: Sequence[Block], share: float, source: Source | None, known: Known = statistics_of
) -> dict[str, Any]:
    """Try executions on this worker.

    Args:
        run: the run.
        made: how its blocks are made.
        blocks: those of one launch.
        share: image-steps that a worker takes.
        source: the real data.
        known: where statistics are found.

    Returns:
        As :func:`raydc.engine.execution.choice.chosen` does; a row has the ``cosine`` with the eager gradient.
    """
    trial = _Trial(run, made, blocks, source, known)
    return chosen(trial, CANDIDATES[trial.device_type], share / sum(map(len, blocks)))


class _Trial:
    def __init__(self, run: Run, made: Recipe, blocks: Sequence[Block], source: Source | None, known: Known) -> None:
        self.run, self.made, self.blocks, self.source, self.known = run, made, blocks, source, known
        self.eager = self._synthesis(EAGER)
        self.count, self.device_type = len(self.eager.guides), self.eager.x.device.type
        self.gradients = self._gradients(self.eager)

    def timed(self) -> float:
        """The pace of the eager step."""
        (pace,) = self._paces(self.eager)
        return pace

    def compared(self, execution: Execution) -> Row:
        """The same gradients in another way, and the pace of its steps."""
        watch = Watch(self.device_type)
        synthesis = self._synthesis(execution)
        gradients = self._gradients(synthesis)
        first = watch.seconds()
        cosine = min(_cosine(a, b) for a, b in zip(gradients, self.gradients, strict=True))
        row = {"name": execution.name, "first_s": first, "cosine": cosine,
               "passed": cosine >= LEAST_COSINE[execution.precision]}  # fmt: skip
        eager, pace = self._paces(self.eager, synthesis)
        return {**row, "step_s": pace, "eager_s": eager}

    def verdict(self, row: Row) -> str:
        """How near its gradients are."""
        return f"gradient cosine {row['cosine']:.3f}"

    def _synthesis(self, execution: Execution) -> Synthesis:
        maker = BlockMaker(self.run, self.made, self.source, self.known, execution)
        return maker.synthesis(self.blocks)

    def _gradients(self, synthesis: Synthesis) -> list[torch.Tensor]:
        """Of as many first steps as there are teachers, for each block of the launch; the pixels stay."""
        found: list[torch.Tensor] = []
        for step in range(self.count):
            synthesis.done = step
            found += synthesis.gradient()[0].chunk(len(self.blocks))
        synthesis.done = 0
        return found

    def _paces(self, *ways: Synthesis) -> list[float]:
        for _ in range(WARM):
            self._pace(ways[-1])
        return in_turns(TURNS, self._pace, *ways)

    def _pace(self, synthesis: Synthesis) -> float:
        """Seconds of a step, over one of each teacher."""
        watch, synthesis.done = Watch(self.device_type), 0
        for _ in range(self.count):
            synthesis.step()
        return watch.seconds() / self.count


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one.double().flatten(), other.double().flatten()
    return float(one @ other / (one.norm() * other.norm()))
