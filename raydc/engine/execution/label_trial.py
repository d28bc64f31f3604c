"""A trial of executions of the labelling teachers: a view of some images, answered in each way."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from raydc.config.axes.execution import EAGER, Execution
from raydc.engine.device import device
from raydc.engine.ensemble import answers, teachers
from raydc.engine.execution.choice import Row, Watch, chosen, in_turns
from raydc.engine.labeler import nearness, settings, views_key
from raydc.engine.run import Run
from raydc.labels.views import draw
from raydc.sources.shard import ImageShard
from raydc.store.manifest import read
from raydc.teachers.ensemble import Teachers

CANDIDATES = {"cpu": ["compiled", "compiled-bf16"], "cuda": ["compiled-fp16", "compiled"]}
DATASET = "condensed"
BATCHES = 2
"""Of the ensemble, that are answered; one may be the whole shard."""
TURNS = 2
"""Times that all of them are answered by each way."""
JUDGED = ("T1", "T4")
MOST_LOST = 0.01
"""The mean KL divergence from the eager labels at each of these temperatures, as a share of what there is to lose: that
from uniform ones. Between what bf16 changes of a trained EfficientNet-Lite0 (0.002 and 0.004,
``benchmarks/bench_relabel.py``) and what four bits a logit lose of it (``int4``: 0.003 and 0.021), which students next
to never missed."""


def shown(run: Run) -> int:
    """Images that a trial answers at most."""
    return BATCHES * settings(run).teachers.batch


def first_images(run: Run) -> np.ndarray:
    """The images that a trial answers, of a packed run's first shard, uint8 ``[N, H, W, 3]``."""
    folder, manifest = run.dataset(DATASET), read(run.dataset(DATASET))
    file = manifest.images.files[0]
    count = min(file.samples, shown(run))
    return ImageShard(folder, manifest, file, check_digest=True).images(np.arange(count))


def tried(run: Run, labels: float, images: np.ndarray) -> dict[str, Any]:
    """Try executions on this worker.

    Args:
        run: the run.
        labels: that a worker makes.
        images: uint8 ``[N, H, W, 3]``.

    Returns:
        As :func:`raydc.engine.execution.choice.chosen` does, a step being one label; a row has what
        :func:`raydc.engine.labeler.nearness` says.
    """
    trial = _Trial(run, images)
    return chosen(trial, CANDIDATES[trial.device_type], labels)


class _Trial:
    def __init__(self, run: Run, images: np.ndarray) -> None:
        self.run, self.device = run, device(run.config.engine)
        self.device_type = self.device.type
        self.images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(self.device)
        self.key, self.size = views_key(run, DATASET, 0).child(0), run.config.data.image_size
        count, _, tall, wide = self.images.shape
        self.records = draw(self.key, count, tall, wide, self.size, settings(run).view)
        self.plain = teachers(run, self.device, EAGER)
        self.wanted = self._answers(self.plain)

    def timed(self) -> float:
        """The pace of the eager teachers."""
        return self._pace(self.plain)

    def compared(self, execution: Execution) -> Row:
        """The same labels in another way."""
        watch = Watch(self.device_type)
        ensemble = teachers(self.run, self.device, execution)
        found = self._answers(ensemble)
        first, near = watch.seconds(), nearness(self.wanted, found)
        passed = all(_lost(near, at) <= MOST_LOST for at in JUDGED)  # a label that is no number does not pass either
        eager, pace = in_turns(TURNS, self._pace, self.plain, ensemble)
        row = {"name": execution.name, "first_s": first, **near, "passed": passed}
        return {**row, "step_s": pace, "eager_s": eager}

    def verdict(self, row: Row) -> str:
        """How near its labels are."""
        lost = ", ".join(f"{100 * _lost(row, at):.2g} % at {at}" for at in JUDGED)
        return f"labels that lose {lost} and name the same class {100 * row['agreement']:.1f} % of the time"

    def _answers(self, ensemble: Teachers) -> torch.Tensor:
        return answers(ensemble, self.images, self.records, self.size, self.key)

    def _pace(self, ensemble: Teachers) -> float:
        watch = Watch(self.device_type)
        self._answers(ensemble)
        return watch.seconds() / len(self.images)


def _lost(near: dict[str, Any], at: str) -> float:
    """The share of the labels' information that is lost at a temperature."""
    numbers = near["fidelity"][at]
    return float(numbers["kl_mean"] / numbers["information"]) if numbers["kl_mean"] else 0.0
