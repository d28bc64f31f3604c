"""Real images on their way to a network: decoded once where they fit, keyed order, keyed views."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from raydc.condense.views import render
from raydc.config.stages.squeeze import TrainConfig
from raydc.errors import DataError
from raydc.keys import Key
from raydc.labels.views import LAMBDA_ONE, column, draw
from raydc.sources.base import Source, Split
from raydc.sources.dealing import dealt
from raydc.teachers.targets import Hard
from raydc.teachers.training import Share

T = TypeVar("T")
LEAST = 2
"""Images that a batch must have: BatchNorm has no statistics of one."""


class Images:
    """The images of a split as uint8 tensors, decoded once and kept where all of them fit ``budget`` bytes."""

    def __init__(self, source: Source, split: Split, budget: int = 1 << 30) -> None:
        self.source, self.split = source, split
        side = source.config.image_size
        fits = len(split) * 3 * side * side <= budget
        # Untouched pages of an empty array cost nothing, so a rank pays only for what it has seen.
        self._kept = np.empty((len(split), 3, side, side), np.uint8) if fits else None
        self._have = np.zeros(len(split), bool)
        self.labels = np.asarray(split.label, np.int64)

    def __len__(self) -> int:
        return len(self.split)

    def take(self, rows: np.ndarray) -> torch.Tensor:
        """Return the images of these rows, uint8 ``[n, 3, S, S]``. A DataError names an image that is damaged."""
        if self._kept is None:
            return torch.from_numpy(np.stack([self._decode(i) for i in rows.tolist()]))
        for i in rows[~self._have[rows]].tolist():
            self._kept[i] = self._decode(i)
            self._have[i] = True
        return torch.from_numpy(self._kept[rows])

    def _decode(self, i: int) -> np.ndarray:
        return np.ascontiguousarray(self.source.image(self.split, i).transpose(2, 0, 1))


def global_batches(key: Key, count: int, batch: int) -> list[np.ndarray]:
    """Deal one epoch: a keyed permutation cut into batches where :func:`batch_cuts` says."""
    return np.split(key.permutation(count), batch_cuts(count, batch))


def batch_cuts(count: int, batch: int) -> list[int]:
    """Where an epoch is cut into batches, the short last one kept; there is one batch more than there are cuts.

    A last batch too small to have statistics joins the one before it.

    Raises:
        DataError: fewer than two images.
    """
    for what, size in (("data set", count), ("batch", batch)):
        if size < LEAST:
            raise DataError(f"a {what} of {size} images has no statistics: BatchNorm needs {LEAST}. Use more images")
    cuts = list(range(batch, count, batch))
    if cuts and count - cuts[-1] < LEAST:
        cuts.pop()
    return cuts


class TeacherFeed:
    """The training batches of a teacher: :class:`Share` of hard labels, a pure function of key and epoch.

    The global batches and their views do not depend on the number of ranks; a rank gets rows ``rank::world``, and
    lends the first one where a batch is too short for that.
    """

    def __init__(
        self,
        images: Images,
        config: TrainConfig,
        key: Key,
        *,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        threads: int = 1,
    ) -> None:
        self._images, self._config, self._key, self._device = images, config, key, torch.device(device)
        self._rank, self._world, self._threads = rank, world, threads

    def __call__(self, epoch: int) -> Iterator[Share]:
        """Yield the batches of an epoch (from 0)."""
        key = self._key.child("epoch", epoch)
        dealt = global_batches(key.child("order"), len(self._images), self._config.batch)
        yield from ahead((partial(self._load, key.child("batch", b), r) for b, r in enumerate(dealt)), self._threads)

    def _load(self, key: Key, rows: np.ndarray) -> Share:
        """Render this rank's part of one global batch."""
        config, side = self._config, self._images.source.config.image_size
        records = draw(key.child("views"), len(rows), side, side, side, config.views)
        shifts = key.child("pad").integers(0, 2 * config.pad + 1, len(rows), 2)
        mine = dealt(np.arange(len(rows)), self._rank, self._world)
        labels = torch.from_numpy(self._images.labels[rows[mine]])
        pixels = self._pixels(rows, mine, shifts)
        if config.views.mix is None:
            target = Hard(labels.to(self._device), config.label_smoothing)
            x01 = render(pixels, records[mine], side)
        else:
            partner = column(records, "partner")[mine].astype(np.int64)
            x01 = render(pixels, records[mine], side, self._pixels(rows, partner, shifts), records[partner])
            target = mixed_target(records[mine], labels, torch.from_numpy(self._images.labels[rows[partner]]),
                                  self._device, config.label_smoothing)  # fmt: skip
        if config.cutout:
            cut_out(x01, *squares(key.child("cutout"), len(rows), config.cutout, side), mine)
        return Share(x01, target, len(rows), lent=self._rank >= len(rows))

    def _pixels(self, rows: np.ndarray, which: np.ndarray, shifts: np.ndarray) -> torch.Tensor:
        pixels = self._images.take(rows[which]).to(self._device)
        return shifted(pixels, shifts[which], self._config.pad) if self._config.pad else pixels


def mixed_target(
    records: np.ndarray, labels: torch.Tensor, partners: torch.Tensor, device: torch.device, smoothing: float = 0.0
) -> Hard:
    """The hard target of mixed views: both labels int64 ``[B]``; the records ``[B, 12]`` hold the shares."""
    kept = column(records, "lam") / np.float32(LAMBDA_ONE)
    return Hard(labels.to(device), smoothing, partners.to(device), torch.from_numpy(kept.astype(np.float32)).to(device))


def squares(key: Key, count: int, share: float, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a square of one colour for each view: its side is ``share`` of the view's, its centre anywhere.

    DeVries and Taylor 2017; in a random colour: the ImageNet-21K-P recipe (Ridnik et al. 2021, share 0.5).

    Returns:
        Borders int64 ``[count, 4]``: top, left, bottom, right, clipped to the view; colours float32 ``[count, 3]``.
    """
    whole = round(share * side)
    begin = key.child("centre").integers(0, side, count, 2) - whole // 2
    borders = np.clip(np.concatenate([begin, begin + whole], axis=1), 0, side)
    return borders, key.child("colour").uniform(count, 3).astype(np.float32)


def cut_out(x01: torch.Tensor, borders: np.ndarray, colours: np.ndarray, rows: np.ndarray) -> None:
    """Paint :func:`squares`, those of ``rows``, into views ``[B, 3, S, S]`` in place."""
    top, left, bottom, right = (torch.from_numpy(b).to(x01.device)[:, None] for b in borders[rows].T)
    line = torch.arange(x01.shape[-1], device=x01.device)[None, :]
    inside = ((line >= top) & (line < bottom))[:, None, :, None] & ((line >= left) & (line < right))[:, None, None, :]
    x01.copy_(torch.where(inside, torch.from_numpy(colours[rows]).to(x01.device)[:, :, None, None], x01))


def shifted(images: torch.Tensor, shifts: np.ndarray, pad: int) -> torch.Tensor:
    """Pad images ``[B, 3, S, S]`` with zeros and cut a window of S pixels at ``shifts`` ``[B, 2]`` in [0, 2 pad]."""
    side = images.shape[-1]
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, side, 1).unfold(3, side, 1)
    top, left = torch.from_numpy(shifts).to(images.device).unbind(1)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def ahead(jobs: Iterable[Callable[[], T]], threads: int) -> Iterator[T]:
    """Run jobs in order, with ``threads > 1`` some ahead of the consumer; results come in the order of the jobs."""
    if threads <= 1:
        for job in jobs:
            yield job()
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def whole_batches(
    images: Images, batch: int, device: torch.device | str = "cpu", rank: int = 0, world: int = 1
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield this rank's part of a split in order, whole images: (float32 ``[B, 3, S, S]`` in [0, 1], int64 ``[B]``)."""
    rows = np.arange(rank, len(images), world)
    for part in np.split(rows, range(batch, len(rows), batch)):
        if len(part):
            yield images.take(part).to(device).float().div_(255.0), torch.from_numpy(images.labels[part]).to(device)
