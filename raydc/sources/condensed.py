"""A condensed data set as a trainer sees it: images, labels, view records and logits, by row or in batches.

The order of an epoch is a function of (seed, epoch) alone: shards in a keyed order, rows in a keyed order within each,
cut into global batches that ranks share out. Shard s shows view (epoch + s) mod V, so every epoch reads one byte range
a shard. A CutMix partner is a row of the same shard, so no reader ever needs a second one for a picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from raydc.errors import ConfigError, DataError
from raydc.keys import Key
from raydc.labels.codecs import CODECS
from raydc.labels.views import CUTMIX, NO_PARTNER, column
from raydc.sources.lru import ByteCache
from raydc.sources.shard import ImageShard, LabelBlock, read_label_block
from raydc.store import manifest as manifests
from raydc.store.folder import Folder
from raydc.store.manifest import LabelFile

if TYPE_CHECKING:
    import torch

LABEL_SHARE = 8
"""Label blocks get one part in this many of the cache, apart from the images: each is used once an epoch."""


@dataclass(frozen=True)
class Batch:
    """Rows of a data set. Without a label set, ``records`` and ``logits`` are None: the caller draws its own views.

    The ``partner`` fields are the images that CutMix pastes in, aligned with the rows; None if no record mixes. The
    partner of an unmixed row is the row itself.
    """

    index: np.ndarray
    """int64 ``[B]``: positions in the data set."""
    images: np.ndarray
    """uint8 ``[B, H, W, 3]``."""
    labels: np.ndarray
    """int64 ``[B]``."""
    records: np.ndarray | None = None
    """uint16 ``[B, 12]``."""
    logits: np.ndarray | None = None
    """float32 ``[B, K]``."""
    partners: np.ndarray | None = None
    partner_records: np.ndarray | None = None
    partner_labels: np.ndarray | None = None


class CondensedDataset:
    """A published data set, opened for reading.

    Args:
        url: root of the data set, any fsspec URL or path.
        labels: name of the label set; None takes the first one, if there is any.
        cache_bytes: bound of the encoded and decoded images kept in memory; at least one shard is.
        check: hash every image shard when it is first read.

    Raises:
        DataError: not a data set, of a newer format, or the label set cannot be replayed.
    """

    def __init__(self, url: str, labels: str | None = None, cache_bytes: int = 2 << 30, check: bool = True) -> None:
        self.folder = Folder(url)
        self.manifest = manifests.read(self.folder)
        self.classes = manifests.read_classes(self.folder, self.manifest)
        self.dataset_id = self.manifest.dataset_id
        self.image_size = self.manifest.images.size[0]
        self.label_set = labels if labels is not None else next(iter(self.manifest.label_sets), None)
        self._labels = manifests.open_label_set(self.manifest, self.label_set) if self.label_set is not None else None
        self.views = self._labels.views if self._labels else 0
        self._files = self.manifest.images.files
        self._starts = np.cumsum([0, *(f.samples for f in self._files)])
        if self._starts[-1] != self.manifest.images.count:
            raise DataError(f"shards hold {self._starts[-1]} images, the manifest states {self.manifest.images.count}")
        self._label_files = {
            (f.images, view): f for f in (self._labels.files if self._labels else []) for view in range(*f.views)
        }
        self._cache_bytes, self._check = cache_bytes, check
        self._forget()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, i: int) -> tuple[np.ndarray, int, np.ndarray | None, np.ndarray | None]:
        """Row i in view 0, as :meth:`at`."""
        return self.at(i, 0)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_images", "_blocks", "_hashed", "_sized")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def at(self, i: int, view: int) -> tuple[np.ndarray, int, np.ndarray | None, np.ndarray | None]:
        """One row: image uint8 ``[H, W, 3]``, label, record uint16 ``[12]``, logits float32 ``[K]``.

        Record and logits are None without a label set. A record's ``partner`` is a row of the same shard.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        if self._labels and not 0 <= view < self.views:
            raise IndexError(f"view {view} of {self.views}")
        shard = int(np.searchsorted(self._starts, i, side="right")) - 1
        rows = np.array([i - self._starts[shard]])
        images = self._shard(shard)
        image, label = images.images(rows)[0], int(images.labels[rows[0]])
        if self._labels is None:
            return image, label, None, None
        block = self._block(shard, view)
        return image, label, block.records[rows[0]], self._decode(block.rows[rows])[0]

    def batches(
        self, epoch: int, batch: int, seed: int = 0, rank: int = 0, world: int = 1, shuffle: bool = True
    ) -> Iterator[Batch]:
        """One epoch. Global batches are the same whatever ``world`` is; rank r gets rows ``r::world`` of each.

        Args:
            epoch: from 0; decides the order and the views.
            batch: rows of a global batch; the last one of the epoch may be smaller.
            seed: of the order.
            rank: of this worker.
            world: number of workers.
            shuffle: False for the stored order.

        Raises:
            ConfigError: a global batch, or the last one, has fewer rows than there are workers.
        """
        last = len(self) % batch or batch if batch > 0 else 0
        if not 0 <= rank < world or min(batch, last) < world:
            raise ConfigError(
                f"rank {rank} of {world} workers, batch {batch}, last batch {last} of {len(self)} rows: every worker "
                "needs a row of every batch. Choose another batch or fewer workers"
            )
        return self._epoch(epoch, batch, Key((seed, "batches", epoch)) if shuffle else None, rank, world)

    def loader(
        self, epoch: int, batch: int, seed: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
        """One epoch of what the teacher saw and said.

        Yields:
            Views float32 ``[B, 3, S, S]`` in [0, 1], labels int64 ``[B]``, records int32 ``[B, 12]``, logits float32
            ``[B, K]``.

        Raises:
            DataError: the data set has no label set, or was labelled with a sampler that this raydc does not have.
        """
        from raydc.condense.views import SAMPLER

        if self._labels is None:
            raise DataError(f"{self.folder} has no label set. Run 'raydc relabel', or draw views for batches()")
        if self._labels.aug.sampler not in (None, SAMPLER):
            raise DataError(f"labelled with sampler '{self._labels.aug.sampler}', known is '{SAMPLER}'. Update raydc")
        size = self._labels.aug.size or self.image_size
        return (_rendered(b, size) for b in self.batches(epoch, batch, seed, rank, world))

    def _forget(self) -> None:
        self._images: ByteCache[ImageShard] = ByteCache(self._cache_bytes)
        self._blocks: ByteCache[LabelBlock] = ByteCache(self._cache_bytes // LABEL_SHARE)
        self._hashed: set[int] = set()
        self._sized: set[str] = set()

    def _epoch(self, epoch: int, batch: int, key: Key | None, rank: int, world: int) -> Iterator[Batch]:
        count = len(self._files)
        order = key.child("shards").permutation(count) if key else np.arange(count)
        parts = [np.arange(f.samples) if key is None else key.child(s).permutation(f.samples)
                 for s, f in enumerate(self._files)]  # fmt: skip
        shards = np.concatenate([np.full(len(parts[s]), s) for s in order] or [order])
        rows = np.concatenate([parts[s] for s in order] or [order])
        for start in range(0, len(rows), batch):
            mine = slice(start + rank, min(start + batch, len(rows)), world)
            yield self._gather(shards[mine], rows[mine], epoch)

    def _gather(self, shards: np.ndarray, rows: np.ndarray, epoch: int) -> Batch:
        """Collect rows of several shards into one batch."""
        pieces: list[dict[str, np.ndarray]] = []
        borders = np.flatnonzero(np.diff(shards)) + 1
        for s, part in zip(shards[[0, *borders]], np.split(rows, borders), strict=True):
            pieces.append(self._piece(int(s), part, epoch))
        whole = {name: np.concatenate([p[name] for p in pieces]) for name in pieces[0]}
        if "records" in whole and not (column(whole["records"], "op") == CUTMIX).any():
            whole = {k: v for k, v in whole.items() if not k.startswith("partner")}
        return Batch(**whole)

    def _piece(self, s: int, rows: np.ndarray, epoch: int) -> dict[str, np.ndarray]:
        shard = self._shard(s)
        piece = {"index": self._starts[s] + rows, "images": shard.images(rows), "labels": shard.labels[rows]}
        if self._labels is not None:
            block = self._block(s, (epoch + s) % self.views)
            records = block.records[rows]
            named = column(records, "partner").astype(np.int64)
            partners = np.where((column(records, "op") == CUTMIX) & (named != NO_PARTNER), named, rows)
            piece |= {"records": records, "logits": self._decode(block.rows[rows]), "partners": shard.images(partners),
                      "partner_records": block.records[partners], "partner_labels": shard.labels[partners]}  # fmt: skip
        return piece

    def _shard(self, s: int) -> ImageShard:
        def load() -> tuple[ImageShard, int]:
            shard = ImageShard(self.folder, self.manifest, self._files[s], self._check and s not in self._hashed)
            self._hashed.add(s)
            return shard, shard.nbytes

        return self._images.get(s, load)

    def _block(self, s: int, view: int) -> LabelBlock:
        def load() -> tuple[LabelBlock, int]:
            labels, images = self._labels, self._files[s]
            if labels is None:
                raise DataError(f"{self.folder} was opened without a label set")
            file = self._label_files[images.path, view]
            self._check_size(file)
            block = read_label_block(
                self.folder, file, view, images.samples, labels.row_bytes, self.manifest.images.size
            )
            return block, block.nbytes

        return self._blocks.get((s, view), load)

    def _check_size(self, file: LabelFile) -> None:
        """Refuse a label file that was cut or replaced. Its hash would need the whole file; ``verify`` takes it."""
        if file.path in self._sized:
            return
        found = self.folder.size(file.path)
        if found != file.bytes:
            raise DataError(
                f"{self.folder}: {file.path} has {found} bytes, its manifest says {file.bytes}. Restore it; "
                "`raydc verify` finds all that is wrong"
            )
        self._sized.add(file.path)

    def _decode(self, rows: np.ndarray) -> np.ndarray:
        if self._labels is None:
            raise DataError(f"{self.folder} was opened without a label set")
        return CODECS[self._labels.codec.use].decode(rows, len(self.classes))


def _rendered(batch: Batch, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    import torch

    from raydc.condense.views import render

    if batch.records is None or batch.logits is None:
        raise DataError("a batch without view records cannot be rendered; open the data set with a label set")
    images = torch.from_numpy(batch.images).permute(0, 3, 1, 2)
    partners = None if batch.partners is None else torch.from_numpy(batch.partners).permute(0, 3, 1, 2)
    x = render(images, batch.records, size, partners, batch.partner_records)
    records = torch.from_numpy(batch.records.astype(np.int32))
    return x, torch.from_numpy(batch.labels), records, torch.from_numpy(batch.logits)
