"""A stored label set as its readers see it: one view of one image shard at a time, read by range, kept while in use."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from raydc.errors import ConfigError, DataError
from raydc.labels import views
from raydc.labels.codecs import Codec, codec_of
from raydc.sources.lru import ByteCache
from raydc.sources.shard import LabelBlock, read_label_block
from raydc.store import manifest as manifests
from raydc.store.folder import Folder
from raydc.store.schema import ImageFile, LabelFile, Manifest
from raydc.store.shards import from_npy, member


class Labels(Protocol):
    """Views of a data set's images and what teachers say of them, stored or made when they are asked for."""

    @property
    def codec(self) -> Codec | None:
        """Of the rows of labels; None where they are logits."""

    def read(self, images: ImageFile, view: int, logits: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """The view records of a shard, uint16 ``[N, 12]``, and if they are asked for its labels, a row each."""

    def decode(self, rows: np.ndarray) -> np.ndarray:
        """Rows of labels as logits float32 ``[n, K]``."""


class StoredLabels:
    """The view records and logits of a data set's images.

    Args:
        folder: of the data set.
        manifest: of the data set.
        name: of the label set.
        cache_bytes: bound of what is kept in memory; at least one view of one shard is.

    Raises:
        DataError: there is no such label set, or it cannot be replayed.
    """

    def __init__(self, folder: Folder, manifest: Manifest, name: str, cache_bytes: int) -> None:
        self.labels = manifests.open_label_set(manifest, name)
        self.codec = codec_of(self.labels.codec.use, **self.labels.codec.settings())
        self._name = name
        self._folder, self._size, self._classes = folder, manifest.images.size, manifest.source.classes
        self._files: dict[str, list[LabelFile]] = {}
        for file in self.labels.files:
            self._files.setdefault(file.images, []).append(file)
        self._cache_bytes = cache_bytes
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_blocks", "_kept", "_sized")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def read(self, images: ImageFile, view: int, logits: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """The view records of a shard, uint16 ``[N, 12]``, and its encoded labels if they are asked for."""
        if not logits:
            return self.records(images, view), None
        block = self.block(images, view)
        return block.records, block.rows

    def records(self, images: ImageFile, view: int) -> np.ndarray:
        """The view records of a shard, uint16 ``[N, 12]``, without their labels: a thousandth of the bytes."""

        def load() -> tuple[np.ndarray, int]:
            file, name = self._file(images, view), member(view, "aug")
            origin = f"{file.path}: {name}"
            records = from_npy(self._folder.ranges(file.path, [file.members[name]])[0], origin)
            try:
                views.check(records, images.samples, *self._size)
            except DataError as error:
                raise DataError(f"{origin}: {error}") from error
            return records, records.nbytes

        return self._kept.get((images.path, view), load)

    def block(self, images: ImageFile, view: int) -> LabelBlock:
        """The view records and encoded labels of a shard."""

        def load() -> tuple[LabelBlock, int]:
            file = self._file(images, view)
            block = read_label_block(self._folder, file, view, images.samples, self.labels.row_bytes, self._size)
            return block, block.nbytes

        return self._blocks.get((images.path, view), load)

    def decode(self, rows: np.ndarray) -> np.ndarray:
        """Encoded labels uint8 ``[n, row_bytes]`` as logits float32 ``[n, K]``."""
        return self.codec.decode(rows, self._classes)

    def first(self, views: int | None) -> int:
        """How many views are shown where so many are asked for, or all.

        Raises:
            ConfigError: the set has fewer.
        """
        if views is not None and views > self.labels.views:
            raise ConfigError(f"{views} views asked for, but label set '{self._name}' has {self.labels.views}")
        return views or self.labels.views

    def _forget(self) -> None:
        self._blocks: ByteCache[LabelBlock] = ByteCache(self._cache_bytes)
        self._kept: ByteCache[np.ndarray] = ByteCache(self._cache_bytes)
        self._sized: set[str] = set()

    def _file(self, images: ImageFile, view: int) -> LabelFile:
        """The file that holds a view; refused if it was cut or replaced. Its hash would need all of it."""
        file = next(f for f in self._files[images.path] if f.views[0] <= view < f.views[1])
        if file.path not in self._sized:
            found = self._folder.size(file.path)
            if found != file.bytes:
                raise DataError(
                    f"{self._folder}: {file.path} has {found} bytes, its manifest says {file.bytes}. Restore it; "
                    "`raydc verify` finds all that is wrong"
                )
            self._sized.add(file.path)
        return file
