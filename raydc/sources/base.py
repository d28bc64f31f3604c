"""A real data set: its classes, its two splits, and its images, read when asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raydc.config.stages.data import DataConfig
from raydc.errors import DataError
from raydc.keys import Key
from raydc.sources import digits, folders, generated, webdataset
from raydc.sources.classes import class_list, few, select
from raydc.sources.decode import decode_resized
from raydc.sources.holdout import hold_out
from raydc.sources.places import in_threads, member_name, read_place
from raydc.sources.split import WHOLE, Names, Split, empty_split
from raydc.store.faults import clean

__all__ = ["Names", "Source", "Split", "open_source"]


@dataclass(frozen=True, eq=False)
class Source:
    """A real data set: picklable, the same in every process; images are read when asked for."""

    config: DataConfig
    classes: tuple[str, ...]
    """Names; position = class index."""
    train: Split
    validation: Split
    held_out: bool
    """Whether ``validation`` was taken from the training images."""

    def raw(self, split: Split, i: int) -> bytes:
        """Return image ``i`` of a split as it is stored (digits and generated images: as PNG).

        Raises:
            DataError: missing or shortened file, or an unreachable store; names the file or shard and member.
        """
        url, offset, size = split.files[int(split.file[i])], int(split.offset[i]), int(split.size[i])
        if self.config.use == "digits":
            return digits.png(offset)
        if self.config.use == "generated":
            return generated.png(offset, self.config.image_size)
        return read_place(url, offset, size)

    def image(self, split: Split, i: int) -> np.ndarray:
        """Return image ``i`` of a split as u8 [S, S, 3], S = ``config.image_size``.

        Raises:
            DataError: as ``raw``, and for an image that cannot be decoded.
        """
        config, data = self.config, self.raw(split, i)
        try:
            return decode_resized(data, self.name(split, i), config.image_size, config.resize, config.crop_fraction)
        except DataError as error:
            if split.size[i] == WHOLE or config.use in ("digits", "generated"):
                raise
            member = member_name(split.files[int(split.file[i])], int(split.offset[i]))
            raise DataError(f"member '{member}' of shard {error}") from error

    def images(self, split: Split, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return images of a split as u8 [n, S, S, 3], read and decoded in a few threads; raises as ``image``."""
        size = self.config.image_size
        images = np.empty((len(rows), size, size, 3), dtype=np.uint8)

        def fill(at: int) -> None:
            images[at] = self.image(split, int(rows[at]))

        in_threads(fill, range(len(rows)))
        return images

    def name(self, split: Split, i: int) -> str:
        """Return what to call image ``i`` in a message: its URL, or ``SHARD:OFFSET`` of its bytes. Reads nothing."""
        url = split.files[int(split.file[i])]
        url = clean(url)
        return url if split.size[i] == WHOLE else f"{url}:{int(split.offset[i])}"

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) of the classes, the images' files and labels in both splits, and the resize rule.

        It does not depend on where the data set lies (the same copy on S3 and on disk agree), and not on the pixels: a
        damaged image may be replaced.
        """
        digest = hashlib.sha256()
        rule = (self.config.image_size, self.config.resize, self.config.crop_fraction)
        digest.update(repr((self.classes, rule, self.held_out)).encode())
        for split in (self.train, self.validation):
            digest.update(len(split).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(split.label, dtype="<i4").tobytes())
            _hash_files(digest, split)
        return digest.hexdigest()


def _hash_files(digest: Any, split: Split) -> None:
    """Feed the file of every image, by its name below the root of the split, to a digest."""
    used, position = np.unique(split.file, return_inverse=True)
    prefix = len(split.files.prefix) if isinstance(split.files, Names) else 0
    for f in used:
        digest.update(split.files[int(f)][prefix:].encode("utf-8", "surrogateescape") + b"\0")
    digest.update(np.ascontiguousarray(position, dtype="<i8").tobytes())


FIND: dict[str, Callable[[DataConfig], tuple[tuple[str, ...], Split, Split | None]]] = {
    "folders": folders.find,
    "webdataset": webdataset.find,
    "digits": digits.find,
    "generated": generated.find,
}
"""How each kind of data set is found: its classes, its training images, and its validation images if it has some."""


def open_source(config: DataConfig, key: Key) -> Source:
    """Find the classes and the images of a data set; no image is read.

    Args:
        config: The ``data`` section.
        key: What the choice of held-out images depends on where there is no validation split.

    Raises:
        ConfigError: a class list, count or subset that cannot be.
        DataError: missing or unreadable data, empty classes or splits, classes that do not agree.
    """
    if config.use == "none":
        classes = class_list(config.classes)
        chosen = select(config.subset, classes, "data.subset")
        return Source(config, tuple(classes[c] for c in chosen), empty_split(), empty_split(), held_out=False)
    classes, train, validation = FIND[config.use](config)
    _check(classes, train, "train", config.train, config.partial)
    held_out = validation is None
    if validation is None:
        train, validation = hold_out(classes, train, config.validation_fraction, key)
    else:
        _check(classes, validation, "validation", config.validation, config.partial)
    return Source(config, classes, train, validation, held_out)


def _check(classes: tuple[str, ...], split: Split, name: str, url: str | None, partial: bool) -> None:
    """Refuse a split without images, or with a class that has none where each should."""
    place = f"data.{name} ({clean(url)})" if url else f"data.{name}"
    if not len(split):
        raise DataError(f"{place} has no images of the {len(classes)} classes asked for; expected at least one of each")
    empty = [classes[c] for c in np.flatnonzero(split.counts(len(classes)) == 0)]
    if empty and not partial:
        raise DataError(
            f"{place}: empty class, no images of: {few(empty)} ({len(empty)} of {len(classes)} classes). Every class "
            "needs at least one image; add images, correct data.classes, keep the others by data.subset, or say "
            "data.partial: true"
        )
