"""The driver: every stage in its order, each doing what is not yet done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ray

from raydc.engine import evaluate, pack, relabel, scores, squeeze, statistics, synthesize, verifiers
from raydc.engine.receipts import done
from raydc.engine.run import Run, same_data
from raydc.engine.showcase import showcase
from raydc.errors import DataError
from raydc.plan.blocks import Block
from raydc.report.page import write_report
from raydc.sources.base import Source, open_source
from raydc.sources.classes import titles

STAGES = ("squeeze", "synthesize", "pack", "relabel", "evaluate", "report")

Emit = Callable[..., None]


@dataclass
class Driver:
    """A run and what its stages share."""

    run: Run
    emit: Emit

    @cached_property
    def source(self) -> Source:
        """The real data set, or its class names alone."""
        found = open_source(self.run.config.data, self.run.key.child("holdout"))
        if found.held_out:
            count = len(found.validation)
            total = count + len(found.train)
            self.emit("note", text=f"no validation split given: {count} of {total} training images are held out")
        same_data(self.run, found)
        return found

    @property
    def images(self) -> Source | None:
        """The real data set, if it has images."""
        return self.source if self.run.config.data.use != "none" else None

    @cached_property
    def source_ref(self) -> list[Any]:
        """The source in the object store, once for all workers; in a list, so that each worker fetches it itself."""
        return [ray.put(self.source)]

    @property
    def classes(self) -> list[str]:
        """The label space."""
        return list(self.source.classes)

    @cached_property
    def datasets(self) -> list[str]:
        """What this run makes: the product, and random real images to hold it against. Full data needs no making."""
        config = self.run.config.evaluate
        return ["condensed", *(["random"] if config.students and "random" in config.data else [])]

    @cached_property
    def blocks(self) -> dict[str, list[Block]]:
        """The canonical blocks of each data set."""
        blocks = synthesize.blocks_of(self.run, self.classes)
        return {d: blocks for d in self.datasets}

    def do(self, stage: str) -> None:
        """Do one stage; the stages before it must be done."""
        self._check_ready(stage)
        evaluate.check_label_sets(self.run)
        began = time.monotonic()
        with self._named(stage):
            summary = getattr(self, f"_{stage}")()
        self.emit("stage_done", stage=stage, seconds=time.monotonic() - began, summary=summary)

    def _check_ready(self, stage: str) -> None:
        """Refuse a stage whose predecessors are not done: it would find nothing, or half of it."""
        teachers = {f"{t.name}.json" for t in self.run.config.teachers}
        if stage in STAGES[1:] and self.run.teachers().present(teachers) != teachers:
            raise DataError(f"{stage} needs the teachers. Run `raydc squeeze` first, or `raydc run` for all stages")
        if stage in STAGES[3:] and not self.run.dataset("condensed").exists("raydc.json"):
            raise DataError(f"{stage} needs the packed data set. Run `raydc pack` first, or `raydc run` for all stages")
        if stage in STAGES[4:] and self.run.config.relabel is not None and not relabel.labelled(self.run):
            raise DataError(f"{stage} needs the labels. Run `raydc relabel` first, or `raydc run` for all stages")

    @contextmanager
    def _named(self, stage: str) -> Iterator[None]:
        plain = self.emit
        self.emit = lambda kind, **fields: plain(kind, **{"stage": stage, **fields})
        try:
            yield
        finally:
            self.emit = plain

    def _start(self, total: int, already: int, unit: str) -> None:
        self.emit("stage_started", total=total, done=already, unit=unit)

    def _squeeze(self) -> str:
        teachers = self.run.config.teachers
        self._start(len(teachers), len(squeeze.made(self.run)), "teacher")
        self._check_counts()
        squeeze.squeeze(self.run, self.source_ref, self.classes, self.emit)
        known = statistics.collect(self.run, self.source_ref, self.classes, self.emit)
        return ", ".join([*(squeeze.describe(self.run, t.name) for t in teachers), *known])

    def _check_counts(self) -> None:
        """Refuse what the data cannot give, before teachers are trained for it."""
        for dataset, blocks in self.blocks.items():
            made = synthesize.recipe(self.run, dataset)
            synthesize.check_counts(self.run, blocks, made, self.classes, self.images)

    def _synthesize(self) -> str:
        self._check_counts()
        source = self.source_ref if self.images else []
        synthesize.synthesize(self.run, self.blocks, source, self._start, self.emit)
        return ", ".join(f"{sum(map(len, bs))} {d}" for d, bs in self.blocks.items())

    def _pack(self) -> str:
        already = sum(self.run.dataset(d).exists("raydc.json") for d in self.datasets)
        self._start(len(self.datasets), already, "data set")
        for dataset, blocks in self.blocks.items():
            began = time.time()
            self._pack_one(dataset, blocks)
            took = {"began": began, "seconds": time.time() - began}
            self.emit("unit_done", unit=dataset, worker="driver", image_steps=0, **took)
        return pack.identity(self.run)

    def _pack_one(self, dataset: str, blocks: list[Block]) -> None:
        pack.pack(self.run, dataset, [b.id for b in blocks], self.classes, self.emit)

    def _relabel(self) -> str:
        if self.run.config.relabel is None:
            self._start(0, 0, "shard")
            return "no soft labels asked for"
        relabel.relabel(self.run, self.datasets, self._start, self.emit)
        return relabel.summary(self.run, self.datasets)

    def _evaluate(self) -> str:
        config, wanted = self.run.config.evaluate, evaluate.trials(self.run) | evaluate.jobs(self.run)
        self._start(len(wanted), len(done(self.run.students()) & set(wanted)), "student")
        verifiers.verify(self.run, self.blocks["condensed"], self.classes, self.source_ref, self.emit)
        evaluate.train_students(self.run, self.source_ref, self.emit)
        metrics = scores.metrics(self.run, self.classes)
        self.run.folder.write_json("metrics.json", metrics)
        return f"{len(metrics['evaluations'])} students, {len(config.verifiers)} verifiers"

    def _report(self) -> str:
        self._start(1, 0, "page")
        called = titles(self.run.config.data.titles, self.classes)
        shown = showcase(self.run, called, self.images, self.blocks["condensed"])
        write_report(self.run.folder, shown)
        return "report/index.html"
