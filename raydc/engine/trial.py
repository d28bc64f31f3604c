"""A trial of executions: the same first steps of a block in each way, held against the eager one in fp32, and timed.

What passes is in the order of preference: 16 bits first, for where the hardware has them they are the fastest; the
first that is worth its compilation is taken, so that a trial compiles as little as it can.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from raydc.condense.synthesize import Synthesis
from raydc.config.axes.execution import EAGER, EXECUTIONS, Execution
from raydc.engine.run import Run
from raydc.engine.statistics import statistics_of
from raydc.engine.synthesizer import BlockMaker, Known, Recipe
from raydc.plan.blocks import Block
from raydc.sources.base import Source

CANDIDATES = {"cpu": ["compiled-bf16", "compiled"], "cuda": ["graph-fp16", "compiled-fp16", "compiled"]}
LEAST_COSINE = {"fp32": 0.999, "fp16": 0.98, "bf16": 0.90}
"""Between the gradient of an execution and that of the eager one in fp32. Seen on a trained network: fp16 0.994-0.997,
as TF32, which the references ran in; bf16 0.950-0.966 (performance study, section 3); a compiler alone 0.9999."""
STEPS = 3
"""Timed after two warm ones, of each teacher."""
SOON_SECONDS = 60.0
"""Of eager steps in all, within which no compiler is done."""


def tried(
    run: Run, made: Recipe, block: Block, share: float, source: Source | None, known: Known = statistics_of
) -> dict[str, Any]:
    """Try executions on this worker.

    Args:
        run: the run.
        made: how its blocks are made.
        block: one of them.
        share: image-steps that a worker takes.
        source: the real data.
        known: where statistics are found.

    Returns:
        ``chosen``, ``why`` and what was ``tried``: seconds a step, seconds until the first, cosine with the eager
        gradient, or the error.
    """
    trial = _Trial(run, made, block, source, known)
    base = trial.timed(EAGER)
    rows, left = [base], share / len(block)
    if base["step_s"] * left < SOON_SECONDS:
        why = f"{base['step_s'] * left:.0f} s a worker, which no compiler makes up for"
        return {"chosen": EAGER.name, "why": why, "tried": rows}
    for name in CANDIDATES[trial.device.type]:
        row = trial.attempt(EXECUTIONS[name])
        rows.append(row)
        if row.get("passed") and row["first_s"] + row["step_s"] * left < base["step_s"] * left:
            faster = base["step_s"] / row["step_s"]
            why = f"{faster:.1f} times as fast as eager, gradient cosine {row['cosine']:.3f}"
            return {"chosen": name, "why": why, "tried": rows}
    said = "; ".join(f"{row['name']} {_verdict(row)}" for row in rows[1:])
    return {"chosen": EAGER.name, "why": said, "tried": rows}


def _verdict(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"failed ({row['error']})"
    if not row["passed"]:
        return f"has gradients of cosine {row['cosine']:.3f}"
    return f"takes {row['step_s']:.3g} s a step after {row['first_s']:.0f} s"


class _Trial:
    def __init__(self, run: Run, made: Recipe, block: Block, source: Source | None, known: Known) -> None:
        self.run, self.made, self.block, self.source, self.known = run, made, block, source, known
        first = self._synthesis(EAGER)
        self.count, self.device = len(first.guides), first.x.device
        self.gradients = self._gradients(first)

    def attempt(self, execution: Execution) -> dict[str, Any]:
        """The same gradients in another way, and the pace of its steps; what goes wrong is told and not raised."""
        began = time.perf_counter()
        try:
            synthesis = self._synthesis(execution)
            gradients = self._gradients(synthesis)
            first = time.perf_counter() - began
            cosine = min(_cosine(a, b) for a, b in zip(gradients, self.gradients, strict=True))
            row = {"name": execution.name, "first_s": first, "cosine": cosine,
                   "passed": cosine >= LEAST_COSINE[execution.precision]}  # fmt: skip
            return {**row, "step_s": self._pace(synthesis)}
        except Exception as error:  # a compiler fails in many ways; all of them mean: not this one
            said = str(error).strip().splitlines() or [""]
            return {"name": execution.name, "error": f"{type(error).__name__}: {said[0][:200]}"}

    def timed(self, execution: Execution) -> dict[str, Any]:
        """The pace of the eager step."""
        return {"name": execution.name, "first_s": 0.0, "step_s": self._pace(self._synthesis(execution))}

    def _synthesis(self, execution: Execution) -> Synthesis:
        maker = BlockMaker(self.run, self.made, self.source, self.known, execution)
        return maker.synthesis(self.block)

    def _gradients(self, synthesis: Synthesis) -> list[torch.Tensor]:
        """Of as many first steps as there are teachers; the pixels stay."""
        found = []
        for step in range(self.count):
            synthesis.done = step
            found.append(synthesis.gradient()[0].flatten())
        synthesis.done = 0
        return found

    def _pace(self, synthesis: Synthesis) -> float:
        for _ in range(2 * self.count):
            synthesis.step()
        self._sync()
        began = time.perf_counter()
        for _ in range(STEPS * self.count):
            synthesis.step()
        self._sync()
        return (time.perf_counter() - began) / (STEPS * self.count)

    def _sync(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one.double(), other.double()
    return float(one @ other / (one.norm() * other.norm()))
