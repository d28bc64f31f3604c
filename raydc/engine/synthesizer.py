"""The synthesis actor: one block at a time, from its first pixels to its committed part.

A block's part (its images and a few pictures of the way) is written under the block's own name, then its marker. The
marker is the only sign that the block is done; running a block twice writes the same bytes.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from raydc.condense.initialize import INITIALIZERS, Material, Place
from raydc.condense.space import Space
from raydc.condense.statistics import Statistics
from raydc.condense.synthesize import Synthesis, snapshot_steps
from raydc.config.axes.execution import EAGER, Execution
from raydc.config.stages.networks import Normalize
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.engine.context import working_on
from raydc.engine.device import device
from raydc.engine.execution.kept import settled
from raydc.engine.gallery import SourceGallery
from raydc.engine.parts import image_name, step_name, write_part
from raydc.engine.receipts import stamp
from raydc.engine.run import Run
from raydc.engine.selection import guide, picks
from raydc.engine.statistics import statistics_of
from raydc.engine.weights import read_record
from raydc.engine.worker import Worker
from raydc.errors import DataError, StorageError
from raydc.plan.blocks import Block
from raydc.sources.base import Source
from raydc.sources.decode import encode
from raydc.sources.places import in_threads
from raydc.store.faults import clean

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
    """A unit of the queue: a block of a data set."""

    dataset: str
    block: Block

    @property
    def id(self) -> str:
        """Unique over all data sets of the run."""
        return f"{self.dataset}/{self.block.id}"


class BlockMaker:
    """Builds the synthesis of a block from what a worker holds; also used to look at a block's first steps again."""

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

    def start(self, block: Block) -> torch.Tensor:
        """The first pixels of a block, ``[B, 3, S, S]`` in the space."""
        run, config = self.run, self.recipe.synthesize
        how, size = config.initialize, run.config.data.image_size
        images = []
        for label, index in block.entries:
            place = Place(run.key, label, index, config.ipc, size, self.host_space)
            real = Material(self.gallery, picks(run, config, label))
            images.append(INITIALIZERS[how.use].image(how, place, real))
        return torch.stack(images).to(self.device)

    def synthesis(self, block: Block) -> Synthesis:
        """The block before its first step."""
        if not self.guides:
            raise DataError(f"block {block.id} of '{self.recipe.dataset}' needs a teacher to take a step, and has none")
        key = self.run.key.child("synthesize", self.recipe.dataset, block.id)
        start = self.start(block)
        return Synthesis(self.recipe.synthesize, self.guides, start, block.classes, block.indices, key)


class Synthesizer(Worker):
    """The actor. It serves every data set of a run; a teacher is loaded when the first block needs it."""

    def __init__(self, run: Run, recipes: dict[str, Recipe], source: list[Any]) -> None:
        Worker.__init__(self, run, source)  # Ray copies the class, so that super() does not know it
        self.recipes = recipes
        self.makers: dict[str, BlockMaker] = {}
        self.block: InFlight | None = None

    def progress(self) -> float:
        """How much of the block in flight is done, from 0 to 1."""
        return self.block.step / max(1, self.block.config.steps) if self.block else 0.0

    def run(self, work: Work) -> dict[str, Any] | None:
        """Make a block and commit it; None if it was handed back. Returns a receipt, never pixels."""
        self.block = None
        what = f"block {work.block.id} of {work.dataset}"
        with working_on(self.job, what, "synthesize", self._named(work), self._at):
            return self._run(work)

    def _run(self, work: Work) -> dict[str, Any] | None:
        began, markers, name = time.time(), self.job.blocks(work.dataset), f"{work.block.id}.json"
        if markers.exists(name):  # a worker that was given up, or a copy, came to the end of it
            return dict(markers.read_json(name)["meta"])
        if work.dataset not in self.makers:
            recipe = self.recipes[work.dataset]
            how = settled(self.job) if recipe.teachers else EAGER
            self.makers[work.dataset] = BlockMaker(self.job, recipe, self.source, execution=how)
        self.block = block = InFlight(self.makers[work.dataset], work.block, self.leaving)
        made = block.make()
        if made is None:
            return None
        meta = {
            **stamp(began),
            "image_steps": made.pop("image_steps"),
            "bytes": made["bytes"],
        }
        markers.write_json(name, {**made, "meta": meta})
        block.forget()
        return meta

    def _named(self, work: Work) -> list[str | int]:
        labels = work.block.classes
        return [self.source.classes[label] for label in labels] if self.source else list(labels)

    def _at(self) -> str:
        return f"step {self.block.step} of {self.block.config.steps}" if self.block else ""


class InFlight:
    """One block on one worker: its checkpoint, the pictures of its way, and its part."""

    def __init__(self, maker: BlockMaker, block: Block, leaving: threading.Event) -> None:
        self.maker, self.block, self.leaving = maker, block, leaving
        dataset = maker.recipe.dataset
        self.parts, self.checkpoints = maker.run.blocks(dataset), maker.run.work("checkpoints", dataset)
        self.checkpoint = f"{block.id}.safetensors"
        self.config = maker.recipe.synthesize
        self.pictures: dict[int, np.ndarray] = {}
        self.shots = set(snapshot_steps(self.config.steps, self.config.snapshots))
        if self.shots:  # the first picture is of the start, whenever that is
            self.shots.add(min(self._begins()))
        self.first = 0
        """The step this worker began at."""
        self.step = 0
        self.saved = time.monotonic()

    def make(self) -> dict[str, Any] | None:
        """Take the block to its end and write its part; returns the marker's content, or None if handed back."""
        history: dict[str, Any] = {"steps": []}
        if self.config.steps == 0:
            pixels = self.maker.space.to_uint8(self.maker.start(self.block))
        else:
            synthesis = self.maker.synthesis(self.block)
            self.first = synthesis.done
            if self.checkpoints.exists(self.checkpoint):
                self._resume(synthesis)
            if not synthesis.run(self._observe):
                return None
            pixels, history = synthesis.pixels(), synthesis.history.plain()
            self._finite(history)
        return self._commit(pixels.numpy().transpose(0, 2, 3, 1), history)

    def _begins(self) -> list[int]:
        return [self.config.begins(index) for index in self.block.indices]

    def forget(self) -> None:
        """Remove the checkpoint. Only the marker makes it useless, so it comes first."""
        with suppress(StorageError):  # the block is done; a checkpoint that is left lies in nobody's way
            self.checkpoints.remove(self.checkpoint)

    def _observe(self, synthesis: Synthesis) -> bool:
        t, config = synthesis.done, self.config
        self.step = t
        if t in self.shots and t not in self.pictures:
            self.pictures[t] = synthesis.pixels()[shown(self.block)].numpy()
        going_on = not self.leaving.is_set()
        if self.first < t < config.steps and (not going_on or self._due(t)):
            self._save(synthesis)
        return going_on

    def _due(self, step: int) -> bool:
        """Whether a checkpoint is worth its time: a quick block would write more of them than it loses by a kill."""
        waited = time.monotonic() - self.saved
        return step % self.config.checkpoint_every == 0 and waited >= self.maker.run.config.engine.checkpoint_seconds

    def _save(self, synthesis: Synthesis) -> None:
        """Write a checkpoint. A storage that does not take it costs steps at worst: the block goes on."""
        pictures = {f"picture.{step}": torch.from_numpy(p) for step, p in self.pictures.items()}
        tensors = {k: v.cpu().contiguous() for k, v in {**synthesis.state(), **pictures}.items()}
        with suppress(StorageError):
            self.checkpoints.hasty().write(self.checkpoint, safetensors.torch.save(tensors))
        self.saved = time.monotonic()

    def _resume(self, synthesis: Synthesis) -> None:
        try:
            state = safetensors.torch.load(self.checkpoints.read(self.checkpoint))
        except safetensors.SafetensorError as error:
            where = clean(f"{self.checkpoints.url}/{self.checkpoint}")
            raise RuntimeError(f"checkpoint {where} is damaged ({error}). Remove it: the block begins again") from error
        pictures = {k: state.pop(k) for k in list(state) if k.startswith("picture.")}
        self.pictures = {int(k.removeprefix("picture.")): v.numpy() for k, v in pictures.items()}
        synthesis.restore(state)
        self.first = synthesis.done

    def _finite(self, history: dict[str, Any]) -> None:
        """Refuse a block whose objective is no longer a number: its pictures are noise of the arithmetic."""
        for term, values in history.items():
            bad = [step for step, value in zip(history["steps"], values, strict=True) if not math.isfinite(value)]
            if bad:
                raise DataError(
                    f"block {self.block.id} diverged: synthesize.objective term {term} is not finite from "
                    f"step {bad[0]} on. Lower synthesize.optimizer.lr or the term's weight"
                )

    def _commit(self, images: np.ndarray, history: dict[str, Any]) -> dict[str, Any]:
        pack, block = self.maker.run.config.pack, self.block
        # A hundred PNGs of 224 pixels take a core 0.6 s (measured), and a fast GPU 7 s for the whole block.
        encoded = in_threads(lambda image: encode(image, pack.format, pack.quality), images)
        members = [(image_name(n, pack.format), data) for n, data in enumerate(encoded)]
        for step, picture in sorted(self.pictures.items()):
            members.append((step_name(step), encode(picture.transpose(1, 2, 0), "png", pack.quality)))
        return {
            **write_part(self.parts, block, members),
            "shown": shown(block),
            "history": history,
            "image_steps": sum(self.config.steps - max(begin, self.first) for begin in self._begins()),
        }


def shown(block: Block) -> int:
    """Which image of a block is pictured on its way: another class in every block."""
    return block.number % len(block)
