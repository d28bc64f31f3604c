"""The synthesis actor: one launch of blocks at a time, from their first pixels to their committed parts.

A block's part (its images and a few pictures of the way) is written under the block's own name, then its marker. The
marker is the only sign that the block is done; running a block twice writes the same bytes, with the same others beside
it in the launch: they are made again together where a single marker is missing. Pictures are encoded and stored beside
the steps of the next launch, at most one launch behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import Any

from raydc.config.axes.execution import EAGER
from raydc.engine.block_maker import BlockMaker, Recipe, Work
from raydc.engine.context import working_on
from raydc.engine.execution.kept import settled
from raydc.engine.in_flight import InFlight
from raydc.engine.pool import Committing
from raydc.engine.receipts import stamp
from raydc.engine.run import Run
from raydc.engine.worker import Worker
from raydc.errors import DataError


class Synthesizer(Worker):
    """The actor. It serves every data set of a run; a teacher is loaded when the first block needs it."""

    def __init__(self, run: Run, recipes: dict[str, Recipe], source: list[Any]) -> None:
        Worker.__init__(self, run, source)  # Ray copies the class, so that super() does not know it
        self.recipes = recipes
        self.makers: dict[str, BlockMaker] = {}
        self.flight: InFlight | None = None
        self.behind = ThreadPoolExecutor(1)
        self.commits: dict[str, Future[dict[str, Any]]] = {}

    def progress(self) -> float:
        """How much of the launch in flight is done, from 0 to 1."""
        return self.flight.step / max(1, self.flight.config.steps) if self.flight else 0.0

    def run(self, work: Work) -> dict[str, Any] | Committing | None:
        """Make a launch and begin to commit its blocks; None if it was handed back. Never returns pixels."""
        self.flight = None
        with self._saying(work, self._at):
            return self._run(work)

    def committed(self, work: Work) -> dict[str, Any]:
        """Wait until the blocks of a launch that was made are committed; the receipt."""
        with self._saying(work, lambda: "while its pictures were stored"):
            try:
                return self.commits[work.id].result()
            finally:
                del self.commits[work.id]  # not before: the next one waits for it

    def _saying(self, work: Work, at: Callable[[], str]) -> AbstractContextManager[None]:
        what = f"{'block' if len(work.blocks) == 1 else 'launch'} {work.name} of {work.dataset}"
        return working_on(self.job, what, "synthesize", self._named(work), at)

    def _run(self, work: Work) -> dict[str, Any] | Committing | None:
        began, markers = time.time(), self.job.blocks(work.dataset)
        if all(markers.exists(name) for name in _names(work)):  # a worker that was given up, or a copy, came to its end
            return _receipt([markers.read_json(name)["meta"] for name in _names(work)])
        if work.dataset not in self.makers:
            recipe = self.recipes[work.dataset]
            how = settled(self.job) if recipe.teachers else EAGER
            self.makers[work.dataset] = BlockMaker(self.job, recipe, self.source, execution=how)
        self.flight = flight = InFlight(self.makers[work.dataset], work, self.leaving)
        if not flight.make():
            return None
        wait(list(self.commits.values()))  # at most one launch is held beside the next
        self.commits[work.id] = self.behind.submit(self._commit, work, flight, stamp(began))
        return Committing()

    def _commit(self, work: Work, flight: InFlight, stamped: dict[str, Any]) -> dict[str, Any]:
        """Write a part and a marker for each block that has none.

        Raises:
            DataError: a block diverged; those beside it are committed.
        """
        markers, metas, diverged = self.job.blocks(work.dataset), list[dict[str, Any]](), list[DataError]()
        for place, name in enumerate(_names(work)):
            if markers.exists(name):  # of a try that did not come to its end, or a copy
                metas.append(markers.read_json(name)["meta"])
                continue
            try:
                made = flight.write(place)
            except DataError as error:
                diverged.append(error)
                continue
            metas.append({**stamped, "image_steps": made.pop("image_steps"), "bytes": made["bytes"]})
            markers.write_json(name, {**made, "meta": metas[-1]})
        if diverged:
            raise diverged[0]
        flight.forget()
        return _receipt(metas)

    def _named(self, work: Work) -> list[str | int]:
        labels = [label for block in work.blocks for label in block.classes]
        return [self.source.classes[label] for label in labels] if self.source else list(labels)

    def _at(self) -> str:
        return f"step {self.flight.step} of {self.flight.config.steps}" if self.flight else ""


def _names(work: Work) -> list[str]:
    """Of the markers."""
    return [f"{block.id}.json" for block in work.blocks]


def _receipt(metas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """That of a launch: its blocks were made in the same seconds by the same worker."""
    return {**metas[0], **{count: sum(meta[count] for meta in metas) for count in ("image_steps", "bytes")}}
