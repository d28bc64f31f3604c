"""The driver's part of the statistics: what is missing is collected unit by unit, then assembled teacher by teacher."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import ray

from raydc.engine.capacity import options
from raydc.engine.failures import persist, wait
from raydc.engine.pipeline import through
from raydc.engine.receipts import done, watched
from raydc.engine.run import DATA, Run, same_data
from raydc.engine.statistics.assemble import assemble, commit_nothing
from raydc.engine.statistics.collector import Collector
from raydc.engine.statistics.job import Job, jobs
from raydc.engine.statistics.pins import described, pin, there
from raydc.engine.statistics.units import Unit, cut
from raydc.plan.statistics import needed
from raydc.report.units import bytes_text
from raydc.sources.base import Source

Emit = Callable[..., None]


def collect(run: Run, source: list[Any], classes: list[str], emit: Emit) -> list[str]:
    """Collect the statistics that the objective needs and neither run nor store has; the teachers must be there.

    Args:
        run: the run.
        source: the real data in the object store, in a list.
        classes: the label space.
        emit: takes events.

    Returns:
        One line about them, or nothing.

    Raises:
        DataError: an image, weights or sums that are damaged, or other statistics than the run began with.
        ClusterError, StorageError: ``engine.max_attempts`` failures in a row without a unit done between them.
    """
    wanted = needed(run.config)
    if wanted is None:
        return []
    missing = [name for name in wanted.teachers if not there(run, wanted, name)]
    if missing:
        found: Source = ray.get(source[0])
        if not run.folder.exists(DATA):
            same_data(run, found)
        asked = jobs(run, wanted, missing, found)
        _collect(run, asked, found, source, classes, emit)
        for one in asked:
            pin(one)
    return [described(run)]


def _collect(run: Run, asked: list[Job], found: Source, source: list[Any], classes: list[str], emit: Emit) -> None:
    left = [j for j in asked if not j.finished]
    for j in left:
        if not j.layout.width:
            commit_nothing(j, classes)
    left = [j for j in left if j.layout.width]
    if left:
        passing = _Pass(run, left, cut(found.train.counts(len(classes))), source, classes, emit)
        persist(passing.do, passing.finished, run.config.engine.max_attempts, emit, "statistics")


class _Pass:
    """The pass over the real data, and what follows it."""

    def __init__(
        self, run: Run, jobs: list[Job], units: list[Unit], source: list[Any], classes: list[str], emit: Emit
    ) -> None:
        self.run, self.jobs, self.units, self.source = run, jobs, units, source
        self.classes, self.emit = classes, emit
        turns = range(run.config.squeeze.statistics.passes)
        self.names = {unit.name(turn): (turn, unit) for turn in turns for unit in units}
        self.counter = itertools.count(1)  # told from one thread a teacher

    def finished(self) -> list[set[str] | None]:
        """The units of each teacher that have a receipt; None of a teacher whose statistics are there."""
        return [None if j.finished else done(j.work) for j in self.jobs]

    def do(self) -> None:
        """Collect the units that some teacher lacks, then assemble."""
        left = [j for j in self.jobs if not j.finished]
        finished = [done(j.work) for j in left]
        missing = sorted({name for units in finished for name in self.names if name not in units})
        if missing:
            rows = [{"turn": self.names[name][0], **self.names[name][1]._asdict()} for name in missing]
            self.counter = itertools.count(1 + sum(map(len, finished)))
            with ExitStack() as watching:
                for j, units in zip(left, finished, strict=True):
                    watching.enter_context(watched(j.work, units, lambda _: self._tell(len(left))))
                arguments = (self.run, left, self.source)
                through(rows, Collector, arguments, self.run.config.engine, self.emit, "the statistics pass",
                        "units of the statistics could not be collected")  # fmt: skip
        self._assemble(left)

    def _tell(self, teachers: int) -> None:
        """Say how far the pass is, at every hundredth of it."""
        total = teachers * len(self.names)
        count = next(self.counter)
        if 100 * count // total > 100 * (count - 1) // total:
            self.emit("progress", text=f"statistics of the real data: {count} of {total} units")

    def _assemble(self, left: list[Job]) -> None:
        # A sum on one CPU, wherever there is one: no GPU need wait for it.
        engine = self.run.config.engine
        worker = engine.model_copy(update={"cpus_per_worker": 1, "gpus_per_worker": 0, "resources": {}})
        task = ray.remote(assemble).options(max_retries=engine.max_attempts, **options(worker))
        wait([task.remote(j, self.units, self.classes) for j in left])
        asked = self.run.config.squeeze.statistics.precision
        for j in left:
            found = j.record()
            kept = f", kept in {found['precision']}: {asked} has no such numbers" if found["precision"] != asked else ""
            size = f"{found['images']:,} looks, {bytes_text(found['bytes'])}"
            self.emit("progress", text=f"statistics under {j.teacher.name}: {size}{kept}")
