"""What a worker makes blocks of: their recipe, their first pixels, and the launch before its first step."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from raydc.condense.group import Group
from raydc.condense.initialize import INITIALIZERS, Material, Place
from raydc.condense.space import Space
from raydc.condense.statistics import Statistics
from raydc.condense.synthesize import Synthesis
from raydc.config.axes.execution import EAGER, Execution
from raydc.config.stages.networks import Normalize
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.engine.device import device
from raydc.engine.gallery import SourceGallery
from raydc.engine.run import Run
from raydc.engine.selection import guide, picks
from raydc.engine.statistics import statistics_of
from raydc.engine.weights import read_record
from raydc.errors import DataError
from raydc.plan.blocks import Block
from raydc.sources.base import Source

Known = Callable[[Run, str], Statistics | None]
"""Finds the statistics of a teacher."""


@dataclass(frozen=True)
class Recipe:
    """How a data set's blocks are made. The controls are points of the same space: real start, zero steps."""

    dataset: str
    synthesize: SynthesizeConfig
    teachers: tuple[str, ...] = ()
    """The pool that guides the pixels; none where no step is taken."""


@dataclass(frozen=True)
class Work:
    """A unit of the queue: blocks of a data set that are made together."""

    dataset: str
    blocks: tuple[Block, ...]

    @property
    def images(self) -> int:
        """Of all its blocks."""
        return sum(map(len, self.blocks))

    @property
    def name(self) -> str:
        """Unique within the data set."""
        first, count = self.blocks[0].id, len(self.blocks)
        return first if count == 1 else f"{first}-x{count}"

    @property
    def id(self) -> str:
        """Unique over all data sets of the run."""
        return f"{self.dataset}/{self.name}"


class BlockMaker:
    """Builds the synthesis of blocks from what a worker holds; also used to look at their first steps again."""

    def __init__(
        self,
        run: Run,
        recipe: Recipe,
        source: Source | None,
        known: Known = statistics_of,
        execution: Execution = EAGER,
    ) -> None:
        self.run, self.recipe = run, recipe
        self.device = device(run.config.engine)
        self.gallery = SourceGallery(source) if source is not None else None
        self.guides = [guide(run, name, self.device) for name in recipe.teachers]
        for found, name in zip(self.guides, recipe.teachers, strict=True):
            found.statistics, found.execution = known(run, name), execution
        first = read_record(run.teachers(), recipe.teachers[0]).normalize if recipe.teachers else Normalize()
        self.space = Space(first.mean, first.std, self.device)
        self.host_space = Space(first.mean, first.std)

    def start(self, blocks: Sequence[Block]) -> torch.Tensor:
        """The first pixels of blocks, ``[B, 3, S, S]`` in the space, block after block."""
        run, config = self.run, self.recipe.synthesize
        how, size = config.initialize, run.config.data.image_size
        images = []
        for label, index in itertools.chain.from_iterable(block.entries for block in blocks):
            place = Place(run.key, label, index, config.ipc, size, self.host_space)
            real = Material(self.gallery, picks(run, config, label))
            images.append(INITIALIZERS[how.use].image(how, place, real))
        return torch.stack(images).to(self.device)

    def synthesis(self, blocks: Sequence[Block]) -> Synthesis:
        """A launch of blocks before its first step."""
        dataset = self.recipe.dataset
        if not self.guides:
            raise DataError(f"block {blocks[0].id} of '{dataset}' needs a teacher to take a step, and has none")
        key = self.run.key.child("synthesize", dataset)
        groups = [Group(block.classes, block.indices, key.child(block.id)) for block in blocks]
        return Synthesis(self.recipe.synthesize, self.guides, self.start(blocks), groups)
