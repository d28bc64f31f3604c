"""The engine section: where and how the work runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from raydc.config.axes.execution import ExecutionName, LabelExecutionName, TrainExecutionName
from raydc.config.base import Positive, Strict

_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
Selector = Annotated[str, Field(pattern=rf"^!?((in)?\({_LABEL}(, ?{_LABEL})*\)|{_LABEL})$")]
"""What Ray takes for the value of a label: ``a``, ``!a``, ``in(a,b)``, ``!in(a,b)``."""


class ExecutionConfig(Strict):
    """How each stage runs its networks."""

    synthesize: ExecutionName = "auto"
    """Of the teachers that guide the pixels. ``auto`` is eager where a block is soon done, and else the fastest of a
    trial; what was chosen stands in ``execution.json`` of the run and in the data set's provenance. Name it to have the
    same bytes in another run."""
    relabel: LabelExecutionName = "auto"
    """Of the teachers that label, before students learn or while they do. Another one is another label set. ``auto`` is
    eager where there are few labels, and else the fastest of a trial on a shard, by the same rules; the data set's
    manifest states it, and how near its labels are to the eager ones in fp32. All but ``eager`` fold BatchNorm."""
    evaluate: TrainExecutionName = "eager"
    """Of the students' training steps; weights, optimiser, loss and tests are fp32 whatever it is. Part of a protocol:
    results of another execution are other results. With ``evaluate.split`` only ``eager``."""


class EngineConfig(Strict):
    """Where and how the work runs. Nothing here but ``threads``, ``execution`` and ``blocks_per_launch`` changes a byte
    of the result."""

    workers: Positive = 1
    """Synthesis and labelling actors at most; there are as many as nodes have room for."""
    gpus_per_worker: float = Field(0, ge=0)
    cpus_per_worker: float = Field(1, ge=0)
    resources: dict[str, Annotated[float, Field(gt=0)]] = {}
    """More of what a worker asks of its node, by Ray's names: ``{"accelerator_type:A100": 0.001}``."""
    labels: dict[str, Selector] = {}
    """Labels of the nodes that may be used, as Ray's label selectors: ``{market: spot}``, ``{market: "!spot"}``."""
    threads: Positive = 1
    """Threads of one actor's arithmetic on a CPU. Part of the result: sums are rounded in another order."""
    execution: ExecutionConfig = ExecutionConfig()
    """How networks are run. Part of the result, as ``threads`` are."""
    blocks_per_launch: Positive = 1
    """Blocks that a worker optimises side by side: networks look at all of them at once, for a device that one of them
    does not fill. Statistics, draws and objective stay those of each block; only the rounding may differ."""
    max_attempts: Positive = 3
    """How often a failing block is tried before it is reported. A lost node costs no attempt."""
    checkpoint_seconds: float = Field(30.0, ge=0)
    """Least time between two checkpoints of a block or a student: what a killed worker loses, with the steps between
    two checkpoints if they take longer. A block of 100 images at 224 px stores 180 MB each time."""
    speculate: bool = True
    """At the end, let idle workers make copies of blocks that slower ones still hold; either may win."""
    storage_patience: float = Field(600.0, ge=0)
    """Seconds for which a storage that does not answer is asked again before its work counts as failed."""

    @model_validator(mode="after")
    def _possible(self) -> EngineConfig:
        named = {"CPU": "cpus_per_worker", "GPU": "gpus_per_worker"}
        for name in named.keys() & self.resources:
            raise ValueError(f"resources holds {name}; set {named[name]} instead")
        if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise ValueError(f"gpus_per_worker is {self.gpus_per_worker:g}; expected a part of one GPU or whole GPUs")
        if not (self.cpus_per_worker or self.gpus_per_worker or self.resources):
            raise ValueError("a worker asks for no CPU, no GPU and no resource: a node would hold any number of them")
        return self
