"""The actor of a calibration: a few steps of everything that a worker of the run does, by the parts that do it there.

Several probes are at work at once, as many as the run would have workers, because they share cores, caches and memory.
Every method is one thing to measure and returns plain seconds; what repeats is repeated until a time is over.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import shutil
import tempfile
import time
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from raydc.condense.initialize import SCORED
from raydc.condense.synthesize import Synthesis
from raydc.config import RunConfig
from raydc.config.axes.execution import EAGER, EXECUTIONS
from raydc.config.axes.initialize import Real
from raydc.engine.block_maker import BlockMaker, Recipe
from raydc.engine.calibration import miniature
from raydc.engine.calibration.pace import LEAST, MOST, PATIENCE, WARM, paced, steady
from raydc.engine.device import device
from raydc.engine.ensemble import answers, normalize_of, stored, teachers
from raydc.engine.evaluate import jobs
from raydc.engine.execution import label_trial, step_trial
from raydc.engine.execution.settle import few, image_steps_of, labels_of, soon
from raydc.engine.labeler import codec, encoded, loss, settings
from raydc.engine.live import LiveLabels, by_oneself, is_live
from raydc.engine.run import Run
from raydc.engine.synthesize import blocks_of, recipe
from raydc.labels.views import draw
from raydc.plan.blocks import Block, units
from raydc.plan.measured import Loop, Timing
from raydc.sources.base import Source, Split
from raydc.sources.condensed import CondensedDataset
from raydc.sources.decode import decode, encode
from raydc.store.shards import label_shard
from raydc.students.feed import RealImages, StudentData, steps_per_epoch
from raydc.students.protocol import TEST_BATCH, StudentJob, train_student
from raydc.teachers.ensemble import Teachers
from raydc.teachers.feed import Images, whole_batches
from raydc.teachers.train import train_teacher
from raydc.teachers.training import Training

FEW = 2
"""Steps of an epoch in miniature, where the run's own is longer."""
DECODED = 16
"""Real images that are decoded to see how long one takes."""
LONG = 1 << 20
"""Epochs of a training that is never finished."""
HARMLESS = 1e-6
"""Its learning rate: on a handful of images a real one might end in numbers that are none."""


class Probe:
    """A worker of a run that is measured and not made."""

    def __init__(self, config: RunConfig, source: list[Any]) -> None:
        self.scratch = tempfile.mkdtemp(prefix="raydc-calibrate-")
        self.run = Run(config, str(Path(self.scratch, "run")))
        self.source_ref = source

    def hello(self) -> str:
        """Open the device and fetch the real data's index, as every worker does; the name of the device."""
        self.device = device(self.run.config.engine)
        # A GPU is asked for an answer after several steps only: in a run the next ones are on their way meanwhile.
        self.together = 1 if self.device.type == "cpu" else min(8, max(1, self.run.config.synthesize.steps // 8))
        if self.run.config.synthesize.teachers.sampling != "single":  # a step of each teacher
            self.together *= len(self.run.config.guides)
        self.source: Source = ray.get(self.source_ref[0])
        self.classes = list(self.source.classes)
        return torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu"

    def close(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    @cached_property
    def _blocks(self) -> list[Block]:
        return blocks_of(self.run, self.classes)

    @property
    def block(self) -> Block:
        """The first block of the run, which is a whole one."""
        return self._blocks[0]

    @cached_property
    def launch(self) -> tuple[Block, ...]:
        """The first unit of the run, whose blocks a worker makes together."""
        return units(self._blocks, self.run.config.synthesize, self.run.config.engine)[0]

    @property
    def total(self) -> int:
        """Images of the condensed set."""
        return sum(map(len, self._blocks))

    @cached_property
    def seen(self) -> Split:
        """What stands for the test images."""
        split = self.source.validation if len(self.source.validation) else self.source.train
        return split.take(np.arange(min(len(split), TEST_BATCH)))

    def real(self) -> dict[str, float]:
        """The first real image of a process, and any later one."""
        split, source = self.source.train, self.source
        if not len(split):
            return {"first_image": 0.0, "decode": 0.0}
        first = paced(self._sync, lambda: source.image(split, 0), 0.0, least=1)[0]
        rows = iter(np.linspace(0, len(split) - 1, DECODED).astype(int).tolist())
        each = paced(self._sync, lambda: source.image(split, next(rows)), 0.0, least=DECODED)
        middle = Timing.of(each).median
        return {"first_image": max(0.0, first - middle), "decode": middle}

    def teachers(self, names: Iterable[str]) -> None:
        """Make teachers with random weights."""
        for config in self.run.config.squeeze.teachers:
            if config.name in names:
                miniature.teacher(self.run, config, self.classes)

    def squeeze(self, name: str, ranks: int, seconds: float) -> dict[str, Any]:
        """Training steps of a teacher, one of so many ranks; gradients are not exchanged."""
        config = next(t for t in self.run.config.squeeze.teachers if t.name == name)
        if config.train is None:
            raise ValueError(f"teacher '{name}' is not trained")
        began = time.perf_counter()
        batch = max(2, -(-config.train.batch // ranks))
        calm = config.train.optimizer.model_copy(update={"lr": HARMLESS})
        recipe = {"epochs": LONG, "checkpoint_every": LONG, "batch": batch, "optimizer": calm}
        config = config.model_copy(update={"train": config.train.model_copy(update=recipe)})
        split = self.source.train
        few = split.take(np.arange(min(len(split), FEW * batch)))
        source = dataclasses.replace(self.source, train=few, validation=self.seen)
        training = train_teacher(config, source, self.run.key, device=self.device)
        loop = self._trained(training, steps_per_epoch(len(few), batch), began, seconds)
        return {"loop": loop, "test": self._tested(training, batch)}

    @cached_property
    def made(self) -> Recipe:
        """How blocks are made; any real images will do in place of those that a teacher would choose."""
        made = recipe(self.run, "condensed")
        if made.synthesize.initialize.use not in SCORED:
            return made
        drawn = made.synthesize.model_copy(update={"initialize": Real(use="real")})
        return dataclasses.replace(made, synthesize=drawn)

    @property
    def shown(self) -> Source | None:
        """Where first pixels come from."""
        return None if self.run.config.data.use == "none" else self.source

    def execution(self) -> dict[str, Any]:
        """The execution that the run would choose, the reason, and the seconds that it takes to find out."""
        named, share = self.run.config.engine.execution.synthesize, image_steps_of(self.run, self._blocks)
        if named != "auto" or not self.made.teachers:
            return {"chosen": EAGER.name if named == "auto" else named, "why": "the config's", "seconds": 0.0}
        began, found = time.perf_counter(), soon(self.run, share, len(self.classes))
        if found is None:
            found = step_trial.tried(self.run, self.made, self.launch, share, self.shown, miniature.statistics)
        return {**found, "seconds": time.perf_counter() - began}

    def blocks(self, seconds: float, execution: str) -> dict[str, Any]:
        """The first launch: its start, some of its steps, and the encoding of images, which the others look at."""
        config = self.run.config
        began = time.perf_counter()
        maker = BlockMaker(self.run, self.made, self.shown, miniature.statistics, EXECUTIONS[execution])
        start = maker.start(self.launch)
        opened = time.perf_counter() - began
        begin = Timing.of(paced(self._sync, lambda: maker.start(self.launch), 0.0)).median
        loop, pixels = None, maker.space.to_uint8(start)
        if config.synthesize.steps:
            synthesis = maker.synthesis(self.launch)
            loop = steady(self._stepped(synthesis, seconds), max(0.0, opened - begin), self.together)
            pixels = synthesis.pixels()
        self.pixels = pixels[: len(self.block)].numpy().transpose(0, 2, 3, 1)
        pack = config.pack
        encoded = Timing.of(paced(self._sync, lambda: encode(self.pixels[0], pack.format, pack.quality), 0.0, least=9))
        return {"images": len(pixels), "begin": begin, "encode": encoded.median, "loop": loop}

    def _stepped(self, synthesis: Synthesis, seconds: float) -> list[float]:
        """Seconds of steps of a launch, some of them together."""
        ends: list[float] = []

        def observe(block: Synthesis) -> bool:
            if block.done % self.together:
                return True
            self._sync()
            ends.append(time.perf_counter())
            measured, over = len(ends) - 1 - WARM, ends[-1] - ends[0] > PATIENCE
            return measured < (1 if over else LEAST) or (measured < MOST and ends[-1] - ends[WARM] < seconds)

        synthesis.run(observe)
        return [b - a for a, b in itertools.pairwise(ends)] or [0.0]

    def label_execution(self) -> dict[str, Any]:
        """The execution of the labelling teachers that the run would choose, and the seconds that it takes to find out.
        Needs the pixels of a block."""
        run, named = self.run, self.run.config.engine.execution.relabel
        if named != "auto" or run.config.relabel is None:
            return {"chosen": EAGER.name if named == "auto" else named, "seconds": 0.0}
        labels, began = labels_of(run, self.total), time.perf_counter()
        found = few(run, labels, len(self.classes))
        if found is None:
            found = label_trial.tried(run, labels, self._shard(label_trial.shown(run)))
        return {**found, "seconds": time.perf_counter() - began}

    def _shard(self, count: int) -> np.ndarray:
        """So many of the block's images, or as many as a shard has, repeated as often as they must be."""
        count = min(self.total, self.run.config.pack.shard_size, count)
        return np.resize(self.pixels, (count, *self.pixels.shape[1:]))

    def labels(self, seconds: float, execution: str = EAGER.name) -> dict[str, Any]:
        """Views of one shard; the data set is then there."""
        config, run = self.run.config, self.run
        self.labelled = EXECUTIONS[execution]
        at_once = config.relabel.teachers.batch if config.relabel else 0
        shown = self._shard(max(at_once, config.evaluate.batch))
        count = len(shown)
        self.manifest = miniature.images(run, shown, self.block, self.classes)
        if not stored(config):
            miniature.write(run, self.manifest, self.classes)
            return {"loop": None, "shard_image": 0.0}
        began = time.perf_counter()
        labeller, kept = self._labelling(), codec(settings(run))
        pixels = torch.from_numpy(shown.transpose(0, 3, 1, 2).copy()).to(self.device)
        size, made = config.data.image_size, list[tuple[int, np.ndarray, np.ndarray]]()
        answered: list[torch.Tensor] = []

        def view() -> None:
            key = run.key.child("calibrate", "view", len(made))
            records = draw(key, count, size, size, size, settings(run).view)
            answered[:] = [answers(labeller, pixels, records, size, key)]
            made.append((len(made), records, encoded(answered[0], kept)))
            hashlib.sha256(label_shard(made[-1:])[0])

        opened = time.perf_counter() - began
        loop = steady(paced(self._sync, view, seconds, WARM + LEAST), opened, count)
        miniature.write(run, miniature.labels(run, self.manifest, made, kept), self.classes)
        logits, rows = answered[0].cpu().numpy(), made[-1][2]
        pack = config.pack
        data = encode(shown[0], pack.format, pack.quality)
        read = Timing.of(paced(self._sync, lambda: decode(data, "an image"), 0.0, least=9)).median
        measuring = Timing.of(paced(self._sync, lambda: loss(logits, rows, kept), 0.0)).median
        return {"loop": loop, "shard_image": read + measuring / count}

    def student(self, place: int, seconds: float) -> dict[str, Any]:
        """Training steps of one student of the protocol, and its tests."""
        config, job = self.run.config, list(jobs(self.run).values())[place]
        began = time.perf_counter()
        calm = config.evaluate.optimizer.model_copy(update={"lr": HARMLESS})
        judged = config.evaluate.model_copy(update={"epochs": LONG, "test_every": LONG, "optimizer": calm})
        data = self._data(job)
        steps = min(FEW, steps_per_epoch(self.total, judged.batch))
        training = train_student(
            job, data, Images(self.source, self.seen), judged, self.run.key,
            classes=len(self.classes), image_size=config.data.image_size,
            reference=min(self.total, steps * judged.batch), views=config.relabel.view if config.relabel else None,
            normalize=normalize_of(config), device=self.device,
            labeller=self._labelling().logits if job.data == "full" and job.labels == "soft" else None,
            execution=EXECUTIONS[config.engine.execution.evaluate],
        )  # fmt: skip
        loop = self._trained(training, steps, began, seconds)
        return {"loop": loop, "test": self._tested(training, TEST_BATCH)}

    def _labelling(self) -> Teachers:
        return teachers(self.run, self.device, self.labelled)

    def _data(self, job: StudentJob) -> StudentData:
        if job.data == "full":
            rows = np.arange(min(len(self.source.train), FEW * self.run.config.evaluate.batch))
            return RealImages(Images(self.source, self.source.train.take(rows)))
        if job.stored is not None:
            return CondensedDataset(self.run.dataset("condensed").url, miniature.LABELS)
        bare = CondensedDataset(self.run.dataset("condensed").url).labelled_by(None)
        if not is_live(self.run.config, job):
            return bare
        own = by_oneself(self.run, "condensed", bare, cache(self._labelling), self.device)
        return bare.labelled_by(LiveLabels(self.run, "condensed", bare, own))

    def _trained(self, training: Training, steps: int, began: float, seconds: float) -> Loop:
        epochs = iter(training)
        built = time.perf_counter() - began
        return steady(paced(self._sync, lambda: next(epochs), seconds, WARM + LEAST), built, steps)

    def _tested(self, training: Training, batch: int) -> float:
        """Seconds of a test image."""
        tests = Images(self.source, self.seen)
        once = paced(
            self._sync, lambda: training.fit.test(whole_batches(tests, batch, self.device)), 0.0, least=1 + LEAST
        )
        return Timing.of(once[1:]).median / len(self.seen)

    def _sync(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
