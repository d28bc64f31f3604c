"""The training loop: epochs of a fit over a feed, tests between, one record an epoch, resumable after each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import distributed

from raydc.errors import DataError, Diverged
from raydc.teachers import checkpoint
from raydc.teachers.fit import Fit
from raydc.teachers.targets import Target


@dataclass(frozen=True)
class Share:
    """One rank's rows of one global batch, on the device of the fit."""

    x01: torch.Tensor
    """float32 ``[B, 3, S, S]`` in [0, 1]."""
    target: Target
    rows: int
    """Images in the global batch."""
    lent: bool = False
    """The global batch has fewer rows than there are ranks: what this one shows counts for nothing."""


Feed = Callable[[int], Iterable[Share]]
"""The batches of an epoch, a pure function of the epoch's number (from 0)."""
Tests = Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]]
"""A fresh pass over the test images of this rank: (pixels in [0, 1], labels)."""


class EpochRecord(BaseModel):
    """What is known after an epoch. Fractions, not per cent; no clock, so that it can be compared and hashed."""

    model_config = ConfigDict(frozen=True)

    epoch: int
    """Epochs finished: 1 after the first."""
    steps: int
    lr: float
    loss: float
    top1: float | None = None
    top5: float | None = None


class Training:
    """An iterator over epochs that can stop after any of them and go on elsewhere from :meth:`state`."""

    def __init__(
        self,
        name: str,
        fit: Fit,
        feed: Feed,
        tests: Tests,
        *,
        epochs: int,
        test_every: int,
    ) -> None:
        """Prepare; nothing is trained before iteration.

        Args:
            name: of the network, for messages, and to refuse the state of another.
            fit: what is trained.
            feed: the batches of an epoch.
            tests: the test images; the last epoch is always tested.
            epochs: to train.
            test_every: epochs between tests.
        """
        self.name, self.fit, self.epochs = name, fit, epochs
        self.records: list[EpochRecord] = []
        self.seconds = 0.0
        """Wall time in this process, of training and tests; in no state and no record."""
        self.waited = 0.0
        """The part of it in which the next batch was not yet there."""
        self._feed, self._tests, self._every = feed, tests, test_every

    @property
    def done(self) -> int:
        """Epochs finished."""
        return len(self.records)

    def __iter__(self) -> Iterator[EpochRecord]:
        """Train and yield the record of each epoch that is not yet done.

        Raises:
            Diverged: the loss is no longer a number.
        """
        while self.done < self.epochs:
            began = time.perf_counter()
            self.records.append(self._epoch(self.done))
            self.seconds += time.perf_counter() - began
            yield self.records[-1]

    def _epoch(self, epoch: int) -> EpochRecord:
        lr = self.fit.start_epoch(epoch)
        total = torch.zeros(2, dtype=torch.float64, device=self.fit.device)
        for share in self._timed(self._feed(epoch)):
            loss = self.fit.step(share.x01, share.target, share.rows, share.lent)
            mine = torch.tensor(0 if share.lent else len(share.x01), device=total.device)
            total += torch.stack([loss.double() * mine, mine])
        if self.fit.world > 1:
            distributed.all_reduce(total, group=self.fit.group)
        summed, images = total.tolist()
        if images == 0:
            raise DataError(f"'{self.name}' has no images to train on")
        if not math.isfinite(summed):
            raise Diverged(
                f"the loss of '{self.name}' is {summed} in epoch {epoch + 1} at learning rate {lr:g}: it "
                "diverged. Lower optimizer.lr, or check the normalisation and the labels"
            )
        record = EpochRecord(epoch=epoch + 1, steps=self.fit.steps, lr=lr, loss=summed / images)
        if (epoch + 1) % self._every and epoch + 1 < self.epochs:
            return record
        top1, top5 = self.fit.test(self._tests())
        return record.model_copy(update={"top1": top1, "top5": top5})

    def by_class(self, classes: int) -> dict[str, list[int]]:
        """Top-1 ``hits`` and test ``images`` of each class after the last epoch, over all ranks, which all must ask.

        A training that was taken up after its last test is tested again.
        """
        if self.fit.tally is None:
            self.fit.test(self._tests())
        counts = torch.zeros(classes, 2, dtype=torch.int64, device=self.fit.device)
        if self.fit.tally is not None and self.fit.tally.counts is not None:
            counts += self.fit.tally.counts
        if self.fit.world > 1:
            distributed.all_reduce(counts, group=self.fit.group)
        hits, images = counts.T.tolist()
        return {"hits": hits, "images": images}

    def _timed(self, shares: Iterable[Share]) -> Iterator[Share]:
        stream = iter(shares)
        while True:
            began = time.perf_counter()
            share = next(stream, None)
            self.waited += time.perf_counter() - began
            if share is None:
                return
            yield share

    def state(self) -> bytes:
        """All that the rest of the training depends on, as a safetensors file; equal trainings give equal bytes."""
        tensors, numbers = self.fit.state()
        records = [r.model_dump() for r in self.records]
        return checkpoint.pack(tensors, {"name": self.name, "fit": numbers, "records": records})

    def load_state(self, data: bytes) -> None:
        """Go on from what :meth:`state` returned, there or here. The end is the same to the bit.

        Raises:
            DataError: damaged, or the state of another training.
        """
        tensors, numbers = checkpoint.unpack(data, f"the checkpoint of '{self.name}'")
        if numbers.get("name") != self.name:
            found = numbers.get("name")
            raise DataError(f"this checkpoint is of '{found}', expected '{self.name}'. Remove it to start anew")
        self.fit.load_state(tensors, numbers["fit"])
        self.records = [EpochRecord.model_validate(r) for r in numbers["records"]]

    def result(self) -> dict[str, Any]:
        """The numbers of ``metrics.json`` that do not come from the clock: last and best accuracy, epochs, steps."""
        tested = [r for r in self.records if r.top1 is not None]
        if self.done < self.epochs or not tested:
            raise ValueError(f"'{self.name}' is at epoch {self.done} of {self.epochs}; it has no result yet")
        last = tested[-1]
        return {"top1_last": last.top1, "top1_best": max(r.top1 for r in tested if r.top1 is not None),
                "top5_last": last.top5, "epochs": self.epochs, "steps": last.steps}  # fmt: skip
