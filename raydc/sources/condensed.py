"""A condensed data set as a trainer sees it: images, labels, view records and logits, by row or in batches.

The order of an epoch is a function of (seed, epoch) alone: shards in a keyed order, rows in a keyed order within each,
cut into global batches that ranks share out. Shard s shows view (epoch + s) mod V, or one that is drawn: every epoch
reads one byte range a shard. A partner is a row of the same shard, so no reader ever needs a second one for a picture.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from raydc.errors import ConfigError, DataError
from raydc.keys import Key
from raydc.labels.codecs import Codec
from raydc.labels.views import NO_PARTNER, PLAIN, column, mix_of
from raydc.sources.batch import Batch
from raydc.sources.dealing import dealt, global_batches, order_of_shards
from raydc.sources.label_sets import Labels, StoredLabels
from raydc.sources.lru import ByteCache
from raydc.sources.shard import ImageShard
from raydc.store import manifest as manifests
from raydc.store.folder import Folder
from raydc.store.patience import READING_S

if TYPE_CHECKING:
    import torch

    from raydc.sources.stream import Stream

LABEL_SHARE = 8
"""Label blocks get one part in this many of the cache, apart from the images: each is used once an epoch."""


class CondensedDataset:
    """A published data set, opened for reading.

    Args:
        url: root of the data set, any fsspec URL or path, or its folder: the manifest is read with that one's patience
            (a URL has none, so a wrong one is told at once), the shards with ``patience.READING_S`` at the least.
        labels: name of the label set; None takes the first one, if there is any.
        views: how many of its views are shown, the first ones; None: all.
        draw: which of them an epoch shows of a shard: ``in_turn``, or ``random``.
        cache_bytes: bound of the encoded and decoded images kept in memory; at least one shard is.
        check: hash every image shard when it is first read.

    Raises:
        DataError: not a data set, of a newer format, or the label set cannot be replayed.
    """

    def __init__(
        self,
        url: str | Folder,
        labels: str | None = None,
        cache_bytes: int = 2 << 30,
        check: bool = True,
        *,
        views: int | None = None,
        draw: Literal["in_turn", "random"] = "in_turn",
    ) -> None:
        first = url if isinstance(url, Folder) else Folder(url)
        self.manifest = manifests.read(first)
        self.folder = Folder(first.url, max(first.patience, READING_S))
        self.classes = manifests.read_classes(self.folder, self.manifest)
        self.dataset_id = self.manifest.dataset_id
        self.image_size = self.manifest.images.size[0]
        self._cache_bytes, self._check = cache_bytes, check
        self._take(labels if labels is not None else next(iter(self.manifest.label_sets), None), views, draw)
        self._files = self.manifest.images.files
        self._starts = np.cumsum([0, *(f.samples for f in self._files)])
        if self._starts[-1] != self.manifest.images.count:
            raise DataError(f"shards hold {self._starts[-1]} images, the manifest states {self.manifest.images.count}")
        self._forget()

    def _take(self, labels: str | None, views: int | None, draw: Literal["in_turn", "random"]) -> None:
        self.label_set, self._draw, self._stored = labels, draw, None
        if labels is not None:
            self._stored = StoredLabels(self.folder, self.manifest, labels, self._cache_bytes // LABEL_SHARE)
        self._labels: Labels | None = self._stored
        self.views = self._stored.first(views) if self._stored else 0

    def labelled(
        self, labels: str, views: int | None = None, draw: Literal["in_turn", "random"] = "in_turn"
    ) -> CondensedDataset:
        """The same images with another label set; what is held of the images is held once."""
        (other := self.labelled_by(None))._take(labels, views, draw)
        return other

    def labelled_by(self, labels: Labels | None) -> CondensedDataset:
        """The same images with views and logits from elsewhere than a stored label set; None: without any."""
        other = copy.copy(self)
        other._images, other._hashed = self._images, self._hashed  # a copy travels without
        other._take(None, None, "in_turn")
        other._labels = labels
        return other

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, i: int) -> tuple[np.ndarray, int, np.ndarray | None, np.ndarray | None]:
        """Row i in view 0, as :meth:`at`."""
        return self.at(i, 0)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_images", "_hashed")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def at(self, i: int, view: int) -> tuple[np.ndarray, int, np.ndarray | None, np.ndarray | None]:
        """One row: image uint8 ``[H, W, 3]``, label, record uint16 ``[12]``, logits float32 ``[K]``.

        Record and logits are None without a label set. A record's ``partner`` is a row of the same shard.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        if self._stored and not 0 <= view < self.views:
            raise IndexError(f"view {view} of {self.views}")
        shard = int(np.searchsorted(self._starts, i, side="right")) - 1
        rows = np.array([i - self._starts[shard]])
        images = self._shard(shard)
        image, label = images.images(rows)[0], int(images.labels[rows[0]])
        if self._stored is None:
            return image, label, None, None
        block = self._stored.block(self._files[shard], view)
        return image, label, block.records[rows[0]], self._stored.decode(block.rows[rows])[0]

    def take(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows in the order asked for: images uint8 ``[n, H, W, 3]``, labels int64 ``[n]``."""
        images, labels = np.empty((len(index), *self.manifest.images.size, 3), np.uint8), np.empty(len(index), np.int64)
        shards = np.searchsorted(self._starts, index, side="right") - 1
        for s in np.unique(shards).tolist():
            mine = shards == s
            rows = index[mine] - self._starts[s]
            images[mine], labels[mine] = self._shard(s).images(rows), self._shard(s).labels[rows]
        return images, labels

    def shard(self, s: int) -> np.ndarray:
        """All images of a shard: uint8 ``[N, H, W, 3]``."""
        return self._shard(s).images(np.arange(self._files[s].samples))

    def shard_order(self, epoch: int, seed: int = 0) -> list[int]:
        """The shards in the order in which an epoch shows them."""
        return order_of_shards(len(self._files), epoch, seed)

    def view(self, epoch: int, shard: int, seed: int = 0) -> int:
        """The view of a shard that an epoch shows; labels that are not stored have views without end."""
        if self._draw == "random":
            return int(Key((seed, "views", epoch)).child(shard).integers(0, self.views, 1)[0])
        return (epoch + shard) % self.views if self.views else epoch + shard

    def batches(
        self,
        epoch: int,
        batch: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        logits: bool | Literal["encoded"] = True,
        start: int = 0,
        every: int = 1,
        least: int = 1,
        lend: bool = False,
    ) -> Iterator[Batch]:
        """One epoch. Global batches are the same whatever ``world`` is; rank r gets rows ``r::world`` of each.

        Args:
            epoch: from 0; decides the order and the views.
            batch: rows of a global batch; the last one of the epoch may be smaller.
            seed: of the order.
            rank: of this worker.
            world: number of workers.
            shuffle: False for the stored order.
            logits: False to leave them where they lie, the views stay those of the label set; ``"encoded"`` to have
                them as they are stored, for :func:`raydc.condense.codecs.decode` on another device.
            start: the first batch that is wanted; nothing is read of those before it.
            every: then each so manieth, and nothing is read of those between.
            least: a last batch of fewer rows joins the one before it.
            lend: give a worker that has no row of the last batch its first one, for it to count for nothing.

        Raises:
            ConfigError: a global batch, or the last one, has fewer rows than there are workers.
        """
        last = len(self) % batch or batch if batch > 0 else 0
        last = batch + last if last < least and len(self) > batch else last
        if not 0 <= rank < world or batch < 1 or (min(batch, last) < world and not lend):
            raise ConfigError(
                f"rank {rank} of {world} workers, batch {batch}, last batch {last} of {len(self)} rows: every worker "
                "needs a row of every batch. Choose another batch or fewer workers"
            )
        samples = [file.samples for file in self._files]
        order = islice(global_batches(samples, batch, epoch, seed if shuffle else None, least), start, None, every)
        return (self._gather(s, rows, (rank, world), (epoch, seed), logits) for s, rows in order)

    @property
    def codec(self) -> Codec | None:
        """Of the labels; None where there are none, or logits themselves."""
        return self._labels.codec if self._labels else None

    def loader(
        self, epoch: int, batch: int, seed: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
        """One epoch of what the teacher saw and said.

        Yields:
            Views float32 ``[B, 3, S, S]`` in [0, 1], labels int64 ``[B]``, records int32 ``[B, 12]``, logits float32
            ``[B, K]``.

        Raises:
            DataError: as :meth:`view_size`.
        """
        size = self.view_size()
        return (rendered(b, size) for b in self.batches(epoch, batch, seed, rank, world))

    def stream(self, batch: int, seed: int = 0, rank: int = 0, world: int = 1) -> Stream:
        """The epochs for PyTorch's DataLoader, resumable at any batch; see :class:`raydc.sources.stream.Stream`."""
        from raydc.sources.stream import Stream

        return Stream(self, batch, seed, rank, world)

    def view_size(self) -> int:
        """The side of the views that were labelled, in pixels.

        Raises:
            DataError: the data set has no label set, or was labelled with a sampler that this raydc does not have.
        """
        if self._stored is None:
            raise DataError(f"{self.folder} has no label set. Run 'raydc relabel', or draw views for batches()")
        self.check_sampler()
        return self._stored.labels.aug.size or self.image_size

    def check_sampler(self) -> None:
        """Refuse stored labels, if there are any, of pictures that this raydc would draw differently.

        Raises:
            DataError: they were made with another sampler.
        """
        from raydc.condense.views import SAMPLER

        made = self._stored.labels.aug.sampler if self._stored else None
        if made not in (None, SAMPLER):
            raise DataError(
                f"label set '{self.label_set}' was labelled with sampler '{made}', known is '{SAMPLER}'. Update raydc"
            )

    def _forget(self) -> None:
        self._images: ByteCache[ImageShard] = ByteCache(self._cache_bytes)
        self._hashed: set[int] = set()

    def _gather(
        self, shards: np.ndarray, rows: np.ndarray, part_of: tuple[int, int], when: tuple[int, int],
        logits: bool | Literal["encoded"],
    ) -> Batch:  # fmt: skip
        """Collect the part of a rank, of so many, of a global batch, which may have rows of several shards."""
        whole = self._starts[shards] + rows
        looks = self._looks(shards, *when, bool(logits))
        shards, rows = dealt(shards, *part_of), dealt(rows, *part_of)
        borders = np.flatnonzero(np.diff(shards)) + 1
        parts = list(zip(shards[[0, *borders]].tolist(), np.split(rows, borders), strict=True))
        pieces = [self._piece(s, part) for s, part in parts]
        if self._labels is not None:
            mixed = any((mix_of(looks[s][0][part]) != PLAIN).any() for s, part in parts)
            for piece, (s, part) in zip(pieces, parts, strict=True):
                records, encoded = looks[s]
                piece["records"] = records[part]
                if mixed:
                    piece |= self._partners(s, part, records)
                if encoded is not None and logits == "encoded" and self._labels.codec is not None:
                    piece["encoded"] = encoded[part]
                elif encoded is not None:
                    piece["logits"] = self._labels.decode(encoded[part])
        return Batch(**{name: np.concatenate([p[name] for p in pieces]) for name in pieces[0]}, whole=whole)

    def _looks(
        self, shards: np.ndarray, epoch: int, seed: int, logits: bool
    ) -> dict[int, tuple[np.ndarray, np.ndarray | None]]:
        """Records and labels of all shards in a global batch, on every rank: what is made now, all make together."""
        named, read = dict.fromkeys(shards.tolist()), self._labels.read if self._labels else None
        return {s: read(self._files[s], self.view(epoch, s, seed), logits) for s in named if read}

    def _piece(self, s: int, rows: np.ndarray) -> dict[str, np.ndarray]:
        shard = self._shard(s)
        return {"index": self._starts[s] + rows, "images": shard.images(rows), "labels": shard.labels[rows]}

    def _partners(self, s: int, rows: np.ndarray, records: np.ndarray) -> dict[str, np.ndarray]:
        """What is mixed into these rows, given the records of the whole shard."""
        shard, named = self._shard(s), column(records[rows], "partner").astype(np.int64)
        is_mixed = (mix_of(records[rows]) != PLAIN) & (named != NO_PARTNER)
        partners = np.where(is_mixed, named, rows)
        return {"partners": shard.images(partners), "partner_records": records[partners],
                "partner_labels": shard.labels[partners]}  # fmt: skip

    def _shard(self, s: int) -> ImageShard:
        def load() -> tuple[ImageShard, int]:
            shard = ImageShard(self.folder, self.manifest, self._files[s], self._check and s not in self._hashed)
            self._hashed.add(s)
            return shard, shard.nbytes

        return self._images.get(s, load)


def rendered(batch: Batch, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the teacher saw and said of a batch; see :meth:`CondensedDataset.loader`."""
    import torch

    from raydc.condense.views import render

    if batch.records is None or batch.logits is None:
        raise DataError("a batch without view records cannot be rendered; open the data set with a label set")
    images = torch.from_numpy(batch.images).permute(0, 3, 1, 2)
    partners = None if batch.partners is None else torch.from_numpy(batch.partners).permute(0, 3, 1, 2)
    x = render(images, batch.records, size, partners, batch.partner_records)
    records = torch.from_numpy(batch.records.astype(np.int32))
    return x, torch.from_numpy(batch.labels), records, torch.from_numpy(batch.logits)
