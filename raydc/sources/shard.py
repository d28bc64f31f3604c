"""One shard of a condensed data set as it is read: encoded images decoded on demand, and one view's labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raydc.errors import DataError
from raydc.labels import views
from raydc.sources.decode import decode
from raydc.store.checked import read_checked
from raydc.store.folder import Folder
from raydc.store.schema import ImageFile, LabelFile, Manifest
from raydc.store.shards import from_npy, member, samples_of

MOST_PACKED = 1100
"""Bytes of pixels that a byte of PNG or JPEG can stand for: deflate packs 1032 to one."""
MAX_CLASS = 18
"""Digits of a class index, so that it is an int64."""


@dataclass(frozen=True)
class Samples:
    """What an image shard holds, in its order."""

    keys: list[str]
    labels: np.ndarray
    """int64 ``[N]``."""
    encoded: list[bytes]
    """The images as they are stored."""


def parse_shard(data: bytes, manifest: Manifest, file: ImageFile) -> Samples:
    """The samples of an image shard.

    Raises:
        DataError: they are not those of the manifest, lack a member, or have a class that cannot be.
    """
    samples, codec = samples_of(data, file), manifest.images.codec
    most = MOST_PACKED * file.bytes
    if file.samples * math.prod(manifest.images.size) * 3 > most:
        raise DataError(f"{file.path} has {file.bytes:,} bytes: too few for {file.samples} images of "
                        f"{'x'.join(map(str, manifest.images.size))} pixels. Its manifest is not true")  # fmt: skip
    lacking = [k for k, parts in samples.items() if not {"cls", codec} <= parts.keys()]
    if lacking:
        raise DataError(f"{file.path}: sample {lacking[0]} lacks its .cls or .{codec} member. Pack it again")
    labels = parse_labels([s["cls"] for s in samples.values()], manifest.source.classes, file.path)
    return Samples(list(samples), labels, [s[codec] for s in samples.values()])


class ImageShard:
    """The images of a shard; each is decoded once, when first asked for, because a rank needs only some of them."""

    def __init__(self, folder: Folder, manifest: Manifest, file: ImageFile, check_digest: bool) -> None:
        samples = parse_shard(read_checked(folder, file, check_digest), manifest, file)
        self.path, self.keys, self.labels, self._encoded = file.path, samples.keys, samples.labels, samples.encoded
        self._pixels = np.empty((file.samples, *manifest.images.size, 3), dtype=np.uint8)
        self._decoded = np.zeros(file.samples, dtype=bool)
        self.nbytes = sum(map(len, self._encoded)) + self._pixels.nbytes

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Pixels of some rows: uint8 ``[len(rows), H, W, 3]``."""
        height, width = self._pixels.shape[1:3]
        for row in np.unique(rows[~self._decoded[rows]]).tolist():
            pixels = decode(self._encoded[row], f"{self.path}: {self.keys[row]}", (height, width))
            self._pixels[row], self._encoded[row] = pixels, b""  # not both at once: a cache may hold thousands
            self._decoded[row] = True
        return self._pixels[rows]


@dataclass(frozen=True)
class LabelBlock:
    """One view of a shard: records uint16 ``[N, 12]`` and encoded labels uint8 ``[N, row_bytes]``."""

    records: np.ndarray
    rows: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.records.nbytes + self.rows.nbytes


def read_label_block(
    folder: Folder, file: LabelFile, view: int, samples: int, row_bytes: int, size: tuple[int, int]
) -> LabelBlock:
    """Read one view from a label shard by range, and check that it can be replayed on images of ``size``."""
    names = [member(view, "aug"), member(view, "lab")]
    parts = folder.ranges(file.path, [file.members[n] for n in names])
    records, rows = (from_npy(p, f"{file.path}: {n}") for p, n in zip(parts, names, strict=True))
    if rows.dtype != np.uint8 or rows.shape != (samples, row_bytes) or len(records) != samples:
        found = f"{len(records)} records and labels {rows.dtype} {list(rows.shape)}"
        raise DataError(f"{file.path}: {names[1]} has {found}, expected uint8 [{samples}, {row_bytes}]. Restore it")
    try:
        views.check(records, samples, *size)
    except DataError as error:
        raise DataError(f"{file.path}: {names[0]}: {error}") from error
    return LabelBlock(records, rows)


def parse_labels(members: list[bytes], classes: int, origin: str) -> np.ndarray:
    """The classes that ``.cls`` members hold, int64.

    Raises:
        DataError: one is not a whole number, or no class.
    """
    long = [m for m in members if len(m) > MAX_CLASS]
    if long:
        raise DataError(f"{origin}: a .cls member has {len(long[0])} bytes or more; expected the number of a class")
    try:
        labels = np.array([int(m) for m in members], dtype=np.int64)
    except ValueError as error:
        raise DataError(f"{origin}: a .cls member is not a whole number: {error}. Pack it again") from error
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(f"{origin}: labels {labels.min()} to {labels.max()}, but the data set has {classes} classes")
    return labels
