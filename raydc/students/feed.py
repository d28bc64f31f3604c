"""Condensed or real images on their way to a student: stored or fresh views with soft or hard targets."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import numpy as np
import torch

from raydc.condense import codecs
from raydc.condense.views import render
from raydc.config.axes.views import Views
from raydc.config.stages.evaluate import Loss, MseCe, Renormalized
from raydc.errors import DataError
from raydc.keys import Key
from raydc.labels.views import column, draw
from raydc.sources.batch import Batch
from raydc.sources.condensed import CondensedDataset
from raydc.sources.dealing import dealt
from raydc.teachers.feed import LEAST, Images, global_batches, mixed_target
from raydc.teachers.targets import Hard, Regression, Soft, Target
from raydc.teachers.training import Share

Labeller = Callable[[torch.Tensor], torch.Tensor]
"""Pixels in [0, 1], float ``[B, 3, S, S]``, to logits ``[B, classes]``: teachers that label while students learn."""
Look = Callable[[torch.Tensor, Key, np.ndarray], torch.Tensor]
"""Pixels of some rows of a batch to another look at them, drawn by a key: what no view record can hold. The array int64
``[B]`` says which rows of the batch they are."""


class StudentData(Protocol):
    """What students can be trained on: :class:`raydc.sources.condensed.CondensedDataset`, or :class:`RealImages`."""

    def __len__(self) -> int:
        """Images."""

    def take(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows: images uint8 ``[n, H, W, 3]``, labels int64 ``[n]``."""

    def batches(
        self, epoch: int, batch: int, seed: int = 0, rank: int = 0, world: int = 1, *,
        logits: bool | Literal["encoded"] = True, start: int = 0, least: int = 1, lend: bool = False,
    ) -> Iterator[Batch]:  # fmt: skip
        """A rank's part of the batches of an epoch from ``start`` on; logits only where asked for.

        The short last batch is kept; one of fewer rows than ``least`` joins the one before it. With ``lend`` a rank
        without a row of it has the first one.
        """


class RealImages:
    """All images of a real split in the form of a condensed data set without labels, for the full-data control."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def take(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows: images uint8 ``[n, H, W, 3]``, labels int64 ``[n]``."""
        return self._images.take(index).permute(0, 2, 3, 1).numpy(), self._images.labels[index]

    def batches(
        self, epoch: int, batch: int, seed: int = 0, rank: int = 0, world: int = 1, *,
        logits: bool | Literal["encoded"] = True, start: int = 0, least: int = LEAST, lend: bool = True,
    ) -> Iterator[Batch]:  # fmt: skip
        """Yield a rank's part of the batches of an epoch, which are in a keyed order; records and logits are None."""
        for whole in global_batches(Key((seed, "real", "epoch", epoch)), len(self), batch)[start:]:
            mine = dealt(whole, rank, world)
            images, labels = self.take(mine)
            yield Batch(index=mine, images=images, labels=labels, whole=whole)


class StudentFeed:
    """The training batches of a student: a pure function of data, seed, key and epoch.

    An epoch is ``steps`` batches whatever the data: so every data set that is compared with the condensed one is given
    as many steps, the same learning rate at each, and as many tests. Larger data goes round less often.

    Views are those of the label set, for hard labels too, so that only the targets differ. Where there is no label
    set, or with ``fresh``, views are drawn from ``views``, new ones each time, with partners within the batch; soft
    targets then need a ``labeller``. Several ranks share out each batch, and see together what one would see alone.
    """

    def __init__(
        self,
        data: StudentData,
        labels: Literal["soft", "hard"],
        key: Key,
        *,
        batch: int,
        seed: int,
        size: int,
        views: Views,
        loss: Loss,
        steps: int | None = None,
        device: torch.device | str = "cpu",
        labeller: Labeller | None = None,
        fresh: bool = False,
        look: Look | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Prepare; nothing is read. A label set made with another sampler is a DataError.

        Args:
            data: the images.
            labels: which targets.
            key: names the views that are drawn here.
            batch: images a step.
            seed: of the data's order.
            size: side of the views in pixels.
            views: the distribution of views where the data stores none.
            loss: against soft targets.
            steps: batches an epoch; None: one pass over the data.
            device: of the batches.
            labeller: gives the logits that the data does not store.
            fresh: leave what is stored of views and labels where it lies.
            look: at the rendered views of hard labels.
            rank: of this worker.
            world: workers that share out each batch.
        """
        if not fresh and isinstance(data, CondensedDataset):
            data.check_sampler()
        self._data, self._labels, self._key, self._batch, self._seed = data, labels, key, batch, seed
        self._size, self._views, self._loss, self._fresh = size, views, loss, fresh
        self._device, self._labeller, self._look = torch.device(device), labeller, look
        self._part = (rank, world)
        self._steps = steps or steps_per_epoch(len(data), batch)
        self._at, self._stream = 0, self._from(0)

    def __call__(self, epoch: int) -> Iterator[Share]:
        """Yield the batches of an epoch (from 0)."""
        if self._at != epoch * self._steps:
            self._at = epoch * self._steps
            self._stream = self._from(self._at)
        for share in itertools.islice(self._stream, self._steps):
            self._at += 1
            yield share

    def _from(self, step: int) -> Iterator[Share]:
        """Every batch from a step on, without end: pass after pass over the data."""
        passes, first = divmod(step, steps_per_epoch(len(self._data), self._batch))
        for number in itertools.count(passes):
            stored: bool | Literal["encoded"] = "encoded" if self._labels == "soft" and not self._fresh else False
            batches = self._data.batches(number, self._batch, self._seed, *self._part, logits=stored, start=first,
                                         least=LEAST, lend=True)  # fmt: skip
            for i, batch in enumerate(batches, start=first):
                key = self._key.child("epoch", number, "batch", i)
                share = self._share(self._viewed(batch, key), step // self._steps)
                if self._look is not None:
                    mine = dealt(np.arange(share.rows), *self._part)
                    share = dataclasses.replace(share, x01=self._look(share.x01, key.child("look"), mine))
                yield share
                step += 1
            first = 0

    def _viewed(self, batch: Batch, key: Key) -> Batch:
        """The batch with view records: its own, or drawn ones."""
        if batch.records is not None and not self._fresh:
            return batch
        count, (height, width) = len(batch.whole), batch.images.shape[1:3]
        records = draw(key, count, height, width, self._size, self._views)
        mine = dealt(np.arange(count), *self._part)
        batch = Batch(batch.index, batch.images, batch.labels, batch.whole, records[mine])
        if self._views.mix is None:
            return batch
        partner = column(records, "partner")[mine].astype(np.int64)
        images, labels = self._data.take(batch.whole[partner])
        return dataclasses.replace(batch, partners=images, partner_records=records[partner], partner_labels=labels)

    def _share(self, batch: Batch, epoch: int) -> Share:
        if batch.records is None:
            raise ValueError("a batch without view records cannot be rendered")
        partners = None if batch.partners is None else self._pixels(batch.partners)
        x01 = render(self._pixels(batch.images), batch.records, self._size, partners, batch.partner_records)
        target = self._soft(batch, x01, epoch) if self._labels == "soft" else self._hard(batch)
        return Share(x01, target, len(batch.whole), lent=self._part[0] >= len(batch.whole))

    def _hard(self, batch: Batch, mixed: bool = True) -> Hard:
        """The classes of a batch; of mixed views both, unless only those of the images themselves are wanted."""
        labels = torch.from_numpy(batch.labels)
        if batch.partner_labels is None or batch.records is None or not mixed:
            return Hard(labels.to(self._device))
        return mixed_target(batch.records, labels, torch.from_numpy(batch.partner_labels), self._device)

    def _soft(self, batch: Batch, x01: torch.Tensor, epoch: int) -> Target:
        loss = self._loss
        if isinstance(loss, MseCe):
            hard = self._hard(batch, loss.label == "mixed")
            return Regression(self._logits(batch, x01, math.inf), hard, loss.gamma)
        teacher, student = loss.temperatures(epoch)
        # The k likeliest are looked for among logits that are comparable: what a row leaves out stands at its mean.
        read_at = math.inf if isinstance(loss.target, Renormalized) else teacher
        return Soft(self._logits(batch, x01, read_at), teacher, loss.squared, student, loss.target)

    def _pixels(self, images: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(self._device)

    def _logits(self, batch: Batch, x01: torch.Tensor, temperature: float) -> torch.Tensor:
        """The teachers' answers, float32 ``[B, classes]``; stored ones are opened on the device, for a temperature."""
        if batch.encoded is not None and isinstance(self._data, CondensedDataset) and self._data.codec is not None:
            rows = torch.from_numpy(batch.encoded).to(self._device)
            return codecs.decode(rows, self._data.codec, len(self._data.classes), temperature)
        if batch.logits is not None:
            return torch.from_numpy(batch.logits).to(self._device)
        if self._labeller is None:
            raise DataError("the data has no soft labels and no teacher is at hand; run relabel, or use labels: [hard]")
        with torch.no_grad():
            return self._labeller(x01)


def shown(data: CondensedDataset, batch: int, seed: int, first: int, last: int) -> Iterator[tuple[int, int]]:
    """The shards and views that a student sees from one step on and before another, in order: (shard, view)."""
    each = steps_per_epoch(len(data), batch)
    for number in range(first // each, -(-last // each)):
        begin = max(0, first - number * each) * batch
        end = len(data) if last - number * each >= each else (last - number * each) * batch
        at = 0
        for s in data.shard_order(number, seed):
            rows = data.manifest.images.files[s].samples
            if begin < at + rows and at < end:
                yield s, data.view(number, s, seed)
            at += rows


def steps_per_epoch(count: int, batch: int) -> int:
    """Optimiser steps that :class:`StudentFeed` makes of ``count`` images."""
    whole, rest = divmod(count, batch)
    return max(1, whole + (rest >= LEAST or (rest > 0 and whole == 0)))
