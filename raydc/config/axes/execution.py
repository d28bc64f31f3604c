"""Execution: the same step, done in other ways. What is computed is the method's; how fast, and how finely, is this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ExecutionName = Literal[
    "auto", "eager", "eager-bf16", "eager-fp16", "compiled", "compiled-bf16", "compiled-fp16",
    "graph", "graph-bf16", "graph-fp16",
]  # fmt: skip
"""An execution by name, or the fastest that passes a trial on the machines of the run."""
LabelExecutionName = Literal["auto", "eager", "eager-bf16", "eager-fp16", "compiled", "compiled-bf16", "compiled-fp16"]
"""The same for networks that only answer: they have no step that could be one graph."""
TrainExecutionName = Literal["eager", "eager-bf16", "eager-fp16", "compiled", "compiled-bf16", "compiled-fp16"]
"""The same for networks that are trained: no trial tells what a rounding does to what they will have learnt."""
Precision = Literal["fp32", "bf16", "fp16"]
"""Of what flows through a network. Statistics, objective, pixels and optimiser are fp32 whatever it is."""


HOW = {
    "eager": "Operation by operation",
    "compiled": "By kernels that a compiler makes of the whole network",
    "graph": "As compiled, and the whole step recorded as one CUDA graph",
}
FLOWS = {"fp32": "", "bf16": "; bf16 flows through the network", "fp16": "; fp16 flows through the network"}


@dataclass(frozen=True)
class Execution:
    """One way to do a step."""

    how: Literal["eager", "compiled", "graph"] = "eager"
    """Operation by operation; by kernels that a compiler makes of the whole network; or by these, and the rest of the
    step, as one CUDA graph. Without a GPU the last is as ``compiled``, with augmentations as matrices."""
    precision: Precision = "fp32"

    @property
    def name(self) -> str:
        """As configs and manifests call it."""
        return self.how if self.precision == "fp32" else f"{self.how}-{self.precision}"

    @property
    def card(self) -> str:
        """In a sentence."""
        return f"{HOW[self.how]}{FLOWS[self.precision]}."

    @property
    def loss_scale(self) -> float:
        """What the objective is multiplied by on its way back: gradients of fp16 would vanish below 6e-8.

        2^10: of 2^8 to 2^12, the range in which nothing over- or underflowed (performance study, section 3).
        """
        return 1024.0 if self.precision == "fp16" else 1.0


EAGER = Execution()
EXECUTIONS: dict[str, Execution] = {
    made.name: made
    for made in (
        EAGER,
        Execution("eager", "bf16"),
        Execution("eager", "fp16"),
        Execution("compiled"),
        Execution("compiled", "bf16"),
        Execution("compiled", "fp16"),
        Execution("graph"),
        Execution("graph", "bf16"),
        Execution("graph", "fp16"),
    )
}
