"""Labels that nobody stores: made while students learn, by the student's own worker or by a pool of labellers.

They are a label set without end. View v of a shard is drawn by the key that stored labels are drawn by, and all of the
shard is answered at once, in the pieces in which stored labels are, whatever the student's batches: so live labels are
what a stored set would have held, to the bit before its codec. A student sees view epoch + s of shard s; with stored
labels it is that number modulo their count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import distributed

from raydc.config import RunConfig
from raydc.engine.ensemble import answers, stored
from raydc.engine.labeler import settings, views_key
from raydc.engine.run import Run
from raydc.labels.codecs import Codec
from raydc.labels.views import draw
from raydc.sources.condensed import CondensedDataset
from raydc.sources.lru import ByteCache
from raydc.store.schema import ImageFile
from raydc.students.looks import draws_anew
from raydc.students.protocol import StudentJob
from raydc.teachers.ensemble import Teachers

KEPT_BYTES = 256 * 2**20
"""Records and logits that a worker keeps of the shards in use; at least those of one shard."""


def is_live(config: RunConfig, job: StudentJob) -> bool:
    """Whether a student sees views that are labelled while it learns, be it by their labels or not."""
    lives = config.relabel is not None and not stored(config) and job.stored is None and job.data != "full"
    return lives and not draws_anew(config.evaluate, job.labels, job.augment)


def streamed(config: RunConfig, job: StudentJob) -> bool:
    """Whether a student learns from labels that labellers may bring."""
    return job.labels == "soft" and is_live(config, job)


class Answer(Protocol):
    """Who answers for the teachers."""

    def __call__(self, shard: int, view: int, records: np.ndarray) -> np.ndarray:
        """Logits float32 ``[N, K]`` of one view of each image of a shard."""


class LiveLabels:
    """The labels of a data set's images as :class:`raydc.sources.label_sets.Labels`, made when they are read."""

    codec: Codec | None = None

    def __init__(self, run: Run, dataset: str, data: CondensedDataset, answer: Answer) -> None:
        self._run, self._dataset, self._answer = run, dataset, answer
        self._shards = {file.path: s for s, file in enumerate(data.manifest.images.files)}
        self._side = data.manifest.images.size
        self._records: ByteCache[np.ndarray] = ByteCache(KEPT_BYTES)
        self._logits: ByteCache[np.ndarray] = ByteCache(KEPT_BYTES)

    def read(self, images: ImageFile, view: int, logits: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """The view records of a shard, uint16 ``[N, 12]``, and if they are asked for its logits float32 ``[N, K]``.

        Where several ranks train a student, all must ask for the same shards in the same order.
        """
        shard = self._shards[images.path]
        records = self._records.get((shard, view), lambda: _sized(self._drawn(images.samples, shard, view)))
        if not logits:
            return records, None
        return records, self._logits.get((shard, view), lambda: _sized(self._answer(shard, view, records)))

    def decode(self, rows: np.ndarray) -> np.ndarray:
        """Logits are what they are."""
        return rows

    def _drawn(self, count: int, shard: int, view: int) -> np.ndarray:
        key, size = views_key(self._run, self._dataset, shard).child(view), self._run.config.data.image_size
        return draw(key, count, *self._side, size, settings(self._run).view)


def _sized(array: np.ndarray) -> tuple[np.ndarray, int]:
    return array, array.nbytes


def by_oneself(
    run: Run,
    dataset: str,
    data: CondensedDataset,
    teachers: Callable[[], Teachers],
    device: torch.device,
    group: distributed.ProcessGroup | None = None,
) -> Answer:
    """Answer with teachers of one's own, the ranks of a group sharing out the pieces of a shard.

    Args:
        run: the run.
        dataset: its name.
        data: the images.
        teachers: on the device; asked for with the first shard.
        device: of the teachers.
        group: of data-parallel ranks; None: alone.
    """
    rank, world = (distributed.get_rank(group), distributed.get_world_size(group)) if group else (0, 1)

    def answer(shard: int, view: int, records: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(data.shard(shard).transpose(0, 3, 1, 2).copy()).to(device)
        key, size = views_key(run, dataset, shard).child(view), run.config.data.image_size
        logits = answers(teachers(), images, records, size, key, (rank, world))
        if world > 1:
            distributed.all_reduce(logits, group=group)  # each number is one rank's; the others have zero there
        return logits.cpu().numpy()

    return answer
