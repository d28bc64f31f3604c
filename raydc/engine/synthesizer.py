"""The synthesis actor: one launch of blocks at a time, from their first pixels to their committed parts.

A block's part (its images and a few pictures of the way) is written under the block's own name, then its marker. The
marker is the only sign that the block is done; running a block twice writes the same bytes, with the same others beside
it in the launch: they are made again together where a single marker is missing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from raydc.config.axes.execution import EAGER
from raydc.engine.block_maker import BlockMaker, Recipe, Work
from raydc.engine.context import working_on
from raydc.engine.execution.kept import settled
from raydc.engine.in_flight import InFlight
from raydc.engine.receipts import stamp
from raydc.engine.run import Run
from raydc.engine.worker import Worker


class Synthesizer(Worker):
    """The actor. It serves every data set of a run; a teacher is loaded when the first block needs it."""

    def __init__(self, run: Run, recipes: dict[str, Recipe], source: list[Any]) -> None:
        Worker.__init__(self, run, source)  # Ray copies the class, so that super() does not know it
        self.recipes = recipes
        self.makers: dict[str, BlockMaker] = {}
        self.flight: InFlight | None = None

    def progress(self) -> float:
        """How much of the launch in flight is done, from 0 to 1."""
        return self.flight.step / max(1, self.flight.config.steps) if self.flight else 0.0

    def run(self, work: Work) -> dict[str, Any] | None:
        """Make a launch and commit its blocks; None if it was handed back. Returns a receipt, never pixels."""
        self.flight = None
        what = f"{'block' if len(work.blocks) == 1 else 'launch'} {work.name} of {work.dataset}"
        with working_on(self.job, what, "synthesize", self._named(work), self._at):
            return self._run(work)

    def _run(self, work: Work) -> dict[str, Any] | None:
        began, markers = time.time(), self.job.blocks(work.dataset)
        names = [f"{block.id}.json" for block in work.blocks]
        if all(markers.exists(name) for name in names):  # a worker that was given up, or a copy, came to its end
            return _receipt([markers.read_json(name)["meta"] for name in names])
        if work.dataset not in self.makers:
            recipe = self.recipes[work.dataset]
            how = settled(self.job) if recipe.teachers else EAGER
            self.makers[work.dataset] = BlockMaker(self.job, recipe, self.source, execution=how)
        self.flight = flight = InFlight(self.makers[work.dataset], work, self.leaving)
        made = flight.make()
        if made is None:
            return None
        metas = [{**stamp(began), "image_steps": m.pop("image_steps"), "bytes": m["bytes"]} for m in made]
        for name, marker, meta in zip(names, made, metas, strict=True):
            markers.write_json(name, {**marker, "meta": meta})
        flight.forget()
        return _receipt(metas)

    def _named(self, work: Work) -> list[str | int]:
        labels = [label for block in work.blocks for label in block.classes]
        return [self.source.classes[label] for label in labels] if self.source else list(labels)

    def _at(self) -> str:
        return f"step {self.flight.step} of {self.flight.config.steps}" if self.flight else ""


def _receipt(metas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """That of a launch: its blocks were made in the same seconds by the same worker."""
    return {**metas[0], **{count: sum(meta[count] for meta in metas) for count in ("image_steps", "bytes")}}
