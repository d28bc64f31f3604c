"""A launch on its way: resumed where another worker left it, watched, and written block by block."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from raydc.condense.synthesize import Synthesis, snapshot_steps
from raydc.engine.block_maker import BlockMaker, Work
from raydc.engine.parts import image_name, step_name, write_part
from raydc.errors import DataError, StorageError
from raydc.plan.blocks import Block
from raydc.sources.decode import encode
from raydc.sources.places import in_threads
from raydc.store.faults import clean


class InFlight:
    """One launch on one worker: its checkpoint, the pictures of its way, and the parts of its blocks."""

    def __init__(self, maker: BlockMaker, work: Work, leaving: threading.Event) -> None:
        self.maker, self.blocks, self.leaving = maker, work.blocks, leaving
        dataset = maker.recipe.dataset
        self.parts, self.checkpoints = maker.run.blocks(dataset), maker.run.work("checkpoints", dataset)
        self.checkpoint = f"{work.name}.safetensors"
        self.config = maker.recipe.synthesize
        self.pictures: dict[int, np.ndarray] = {}
        """By step: uint8 ``[G, 3, S, S]``, of one image of each block."""
        self.pixels = torch.empty(0)
        """The end: uint8 ``[B, 3, S, S]``, on the CPU."""
        self.histories: list[dict[str, Any]] = [{"steps": []} for _ in self.blocks]
        self.shots = set(snapshot_steps(self.config.steps, self.config.snapshots))
        if self.shots:  # the first picture is of the start, whenever that is
            self.shots.add(min(self._begins()))
        self.first = 0
        """The step this worker began at."""
        self.step = 0
        self.saved = time.monotonic()

    def make(self) -> bool:
        """Take the blocks to their end; False if they are handed back."""
        if self.config.steps == 0:
            self.pixels = self.maker.space.to_uint8(self.maker.start(self.blocks))
            return True
        synthesis = self.maker.synthesis(self.blocks)
        self.first = synthesis.done
        if self.checkpoints.exists(self.checkpoint):
            self._resume(synthesis)
        if not synthesis.run(self._observe):
            return False
        self.pixels, self.histories = synthesis.pixels(), [group.history.plain() for group in synthesis.groups]
        return True

    def write(self, place: int) -> dict[str, Any]:
        """Write the part of one of the blocks that are made; what its marker holds. Asks nothing of the device.

        Raises:
            DataError: its objective is no longer a number.
        """
        pack, block, count = self.maker.run.config.pack, self.blocks[place], len(self.blocks[place])
        _finite(block, self.histories[place])
        images = self.pixels[place * count : (place + 1) * count].permute(0, 2, 3, 1).numpy()
        # A hundred PNGs of 224 pixels take a core 0.6 s (measured), and a fast GPU 7 s for the whole block.
        encoded = in_threads(lambda image: encode(image, pack.format, pack.quality), images)
        members = [(image_name(n, pack.format), data) for n, data in enumerate(encoded)]
        for step, picture in sorted(self.pictures.items()):
            members.append((step_name(step), encode(picture[place].transpose(1, 2, 0), "png", pack.quality)))
        return {
            **write_part(self.parts, block, members),
            "shown": shown(block),
            "history": self.histories[place],
            "image_steps": sum(self.config.steps - max(begin, self.first) for begin in self._begins()),
        }

    def forget(self) -> None:
        """Remove the checkpoint. Only the markers make it useless, so they come first."""
        with suppress(StorageError):  # the blocks are done; a checkpoint that is left lies in nobody's way
            self.checkpoints.remove(self.checkpoint)

    def _begins(self) -> list[int]:
        """The step at which each image of a block begins; the same in all."""
        return [self.config.begins(index) for index in self.blocks[0].indices]

    def _observe(self, synthesis: Synthesis) -> bool:
        t, config = synthesis.done, self.config
        self.step = t
        if t in self.shots and t not in self.pictures:
            blocks = synthesis.pixels().chunk(len(self.blocks))
            self.pictures[t] = np.stack([x[shown(b)].numpy() for x, b in zip(blocks, self.blocks, strict=True)])
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


def _finite(block: Block, history: dict[str, Any]) -> None:
    """Refuse a block whose objective is no longer a number: its pictures are noise of the arithmetic."""
    for term, values in history.items():
        bad = [step for step, value in zip(history["steps"], values, strict=True) if not math.isfinite(value)]
        if bad:
            raise DataError(
                f"block {block.id} diverged: synthesize.objective term {term} is not finite from "
                f"step {bad[0]} on. Lower synthesize.optimizer.lr or the term's weight"
            )


def shown(block: Block) -> int:
    """Which image of a block is pictured on its way: another class in every block."""
    return block.number % len(block)
