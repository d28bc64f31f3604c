"""The synthesize section: images from teachers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from raydc.config.axes.augment import Augment
from raydc.config.axes.discrepancy import Discrepancy
from raydc.config.axes.initialize import Initialize
from raydc.config.axes.optimize import PixelAdam
from raydc.config.base import NamedTeachers, Positive, Probability, Strict


class TeacherPool(NamedTeachers):
    """Which teachers guide the pixels, and which of them at a step."""

    sampling: Literal["single", "round_robin", "random", "all"] = "single"
    """At a step: the only one; each in turn; one drawn; the mean objective of all."""

    @property
    def single(self) -> tuple[str, str] | None:
        """One teacher, unless several are asked."""
        return ("sampling: single", "Name one, or sample otherwise") if self.sampling == "single" else None


class BlockConfig(Strict):
    """Which images are optimised together because they share batch statistics."""

    group: Literal["across_classes", "within_class", "class_major"] = "across_classes"
    """One image each of many classes; images of one class; all images of a class, then those of the next."""
    size: Positive = 100
    """Images of a block, and so the batch of its statistics, on however many workers the run is."""


class StagesConfig(Strict):
    """Resolutions that the steps are split over evenly; between two, some of the start is mixed in again."""

    sizes: list[Positive] = Field(min_length=2)
    """Side in pixels at each stage; the last is that of the data set."""
    keep: Probability = 0.5
    """Share of the picture that is kept where a stage ends; the rest is the start."""


class SynthesizeConfig(Strict):
    """Images from teachers."""

    ipc: Positive
    classes: list[str | int] | None = None
    """Synthesize only these classes of the label space (their indices stay); absent: all."""
    teachers: TeacherPool = TeacherPool()
    blocks: BlockConfig = BlockConfig()
    initialize: Initialize
    augment: list[Augment] = []
    objective: list[Discrepancy] = []
    optimizer: PixelAdam = PixelAdam(lr=0.1)
    steps: int = Field(ge=0)
    rounds: Positive = 1
    """The images of a class begin in this many groups, one after another, at equal distances of steps."""
    stages: StagesConfig | None = None
    clamp: bool = True
    """Clip pixels to the valid range after every step."""
    log_every: Positive = 50
    snapshots: int = Field(5, ge=0)
    """How many pictures of the way are kept of the first image of each block."""
    checkpoint_every: Positive = 200
    """Steps between checkpoints of a block in flight, unless ``engine.checkpoint_seconds`` asks for fewer."""

    def begins(self, index: int) -> int:
        """The step at which an image of a class, by its index in it, begins to move.

        DELT ``recover/recover.py``: IPC images in order in M groups of IPC // M, the first IPC mod M one larger;
        group g begins at step g * steps / M.
        """
        least, larger = divmod(self.ipc, self.rounds)
        border = larger * (least + 1)
        group = index // (least + 1) if index < border else larger + (index - border) // least
        return group * self.steps // self.rounds

    def stage(self, step: int) -> int:
        """Which stage a step belongs to, from 0."""
        return step * len(self.stages.sizes) // self.steps if self.stages else 0

    @model_validator(mode="after")
    def _possible(self) -> SynthesizeConfig:
        terms = [term.use for term in self.objective]
        if len(set(terms)) < len(terms):
            raise ValueError(f"objective terms must differ, found {terms}")
        if self.steps > 0 and not any(term.weight > 0 for term in self.objective):
            raise ValueError("steps > 0 needs at least one objective term with weight > 0; use steps: 0 to only select")
        start = self.initialize
        if start.use == "mosaic" and start.candidates < start.least(self.ipc):
            raise ValueError(
                f"initialize.candidates is {start.candidates}, but IPC {self.ipc} x factor {start.factor}^2 crops of "
                "different images are needed; raise candidates"
            )
        if self.blocks.group == "across_classes":
            where = "needs blocks with several images of a class; choose another blocks.group"
            if any(t.use == "densification" and t.weight for t in self.objective):
                raise ValueError(f"objective densification {where}")
            if self.rounds > 1:
                raise ValueError(f"rounds > 1 {where}")
        tiled = any(t.use == "conv_statistics" and t.weight and "tile" in t.by for t in self.objective)
        if tiled and self.stages and len(set(self.stages.sizes)) > 1:
            raise ValueError(
                f"conv_statistics by tile needs pictures of one size, but stages.sizes are {self.stages.sizes}; "
                "say by: [channel], or equal sizes"
            )
        if self.stages and 0 < self.steps < len(self.stages.sizes):
            raise ValueError(f"steps is {self.steps}, fewer than the {len(self.stages.sizes)} stages; each needs one")
        if self.rounds > 1 and self.stages:
            raise ValueError("rounds and stages cannot be had at once: where a stage begins, all images are made anew")
        return self
