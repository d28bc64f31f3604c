"""WebDataset shards: tars of samples, each an image (``jpg``, ``jpeg``, ``png``, ``webp``) and its class.

A sample is a run of adjacent members with one key: the path up to the first dot of the base name; the field is what
follows, in lower case (data format of the webdataset package). The class is the ``cls`` member, or a field of the
``json`` member. A scan reads headers and classes, never an image, and keeps where each image lies.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np

from raydc.config.stages.data import DataConfig
from raydc.errors import DataError
from raydc.sources.classes import class_list, numbered, select
from raydc.sources.decode import EXTENSIONS
from raydc.sources.places import expand, folders_and_files, in_threads, opened, reach
from raydc.sources.split import Names, Split
from raydc.store.faults import clean
from raydc.store.folder import Folder
from raydc.store.tar import scan

MAX_LABEL = 16 << 20
"""Bytes of the member that holds a class: JSON records may be long."""


def find(config: DataConfig) -> tuple[tuple[str, ...], Split, Split | None]:
    """Scan the shards of both splits; without a class list, the classes are 0 to the largest found in train.

    Returns:
        The classes that were asked for, the training split, and the validation split where the configuration has one.

    Raises:
        DataError: a missing, truncated or malformed shard, a sample without image or class, a class out of range;
            names shard and member.
        ConfigError: a class list or subset that cannot be.
    """
    known = None if config.classes is None else class_list(config.classes)
    train = _split(config.train or "", _Labels(config.label_key, known))
    space = known or _inferred(train, config)
    chosen = select(config.subset, space, "data.subset")
    names = tuple(space[c] for c in chosen)
    if config.validation is None:
        return names, train.keep(chosen), None
    validation = _split(config.validation, _Labels(config.label_key, space, inferred=known is None))
    return names, train.keep(chosen), validation.keep(chosen)


def shards(url: str) -> list[str]:
    """Return the shard URLs that a brace pattern, a folder of tars, or the URL of one tar stands for, in order.

    Raises:
        DataError: the folder is missing or has no tars, or the pattern has no range.
    """
    if "{" in url:
        named = expand(url)
    elif url.endswith(".tar"):
        named = [url]
    else:
        root = Folder(url).url
        named = [f"{root}/{name}" for name in folders_and_files(root)[1] if name.lower().endswith(".tar")]
        if not named:
            raise DataError(
                f"{clean(url)} has no .tar files; expected a folder of shards, or a pattern: x-{{0000..0012}}.tar"
            )
    return [Folder(name).url for name in named]


@dataclass(frozen=True)
class _Labels:
    """How the class of a sample is read from its members."""

    key: str
    classes: tuple[str, ...] | None
    """The label space, or None where it is to be inferred."""
    inferred: bool = False
    """Whether ``classes`` was inferred from the training shards."""

    @cached_property
    def index(self) -> dict[str, int]:
        """Index of each class name."""
        return {name: i for i, name in enumerate(self.classes or ())}

    def wanted(self, field: str) -> bool:
        return field == ("cls" if self.key == "cls" else "json")

    def read(self, data: bytes, origin: str) -> int:
        """Return the class index that a member holds."""
        value = _number(data) if self.key == "cls" else self._field(data, origin)
        if isinstance(value, str) and value in self.index:
            return self.index[value]
        if isinstance(value, bool) or not isinstance(value, int):
            expected = "a class index" if self.classes is None else "a class index or a name of the class list"
            hint = ". Class names need data.classes, the list of them" if self.classes is None else ""
            raise DataError(f"{origin}: the class is {value!r}; expected {expected}{hint}")
        top = np.iinfo(np.int32).max if self.classes is None else len(self.classes) - 1
        if not 0 <= value <= top:
            said = "the training shards have" if self.inferred else "there are"
            space = "expected 0 or more" if self.classes is None else f"expected 0 to {top}: {said} {top + 1} classes"
            raise DataError(f"{origin}: class index {value} is out of range; {space}")
        return value

    def _field(self, data: bytes, origin: str) -> Any:
        try:
            record = json.loads(data)
        except ValueError as cause:
            raise DataError(f"{origin} is not valid JSON: {cause}") from cause
        if not isinstance(record, dict) or self.key not in record:
            found = f"fields {sorted(record)}" if isinstance(record, dict) else f"a {type(record).__name__}"
            raise DataError(f"{origin} has no field '{self.key}' (data.label_key); found {found}")
        return record[self.key]


def _number(data: bytes) -> int | str:
    text = data.decode("utf-8", "replace").strip()
    return int(text) if text.removeprefix("-").isdecimal() else text


@dataclass
class _Sample:
    """What the scan has seen of one sample."""

    key: str
    image: tuple[str, int, int] | None = None
    label: int | None = None


def _samples(file: BinaryIO, url: str, labels: _Labels) -> Iterator[tuple[int, int, int]]:
    """Yield (offset, size, label) of each sample of a shard."""
    sample: _Sample | None = None
    seen: set[str] = set()
    for name, offset, size in scan(file, f"shard {url}"):
        folder, slash, base = name.rpartition("/")
        stem, dot, field = base.partition(".")
        if not dot or not stem or (stem.startswith("__") and stem.endswith("__")):
            continue  # hidden files and notes such as __readme__.txt: no samples, by the format
        key, field = folder + slash + stem, field.lower()
        if sample is None or key != sample.key:
            if sample is not None:
                yield _finished(sample, url)
            if key in seen:
                raise DataError(f"shard {url}: the members of sample '{key}' are not adjacent; sort and write it again")
            seen.add(key)
            sample = _Sample(key)
        if field in EXTENSIONS:
            if sample.image is not None:
                both = f"'{sample.image[0]}' and '{name}'"
                raise DataError(f"shard {url}: sample '{key}' has two images, {both}; expected one")
            sample.image = (name, offset, size)
        elif labels.wanted(field):
            if size > MAX_LABEL:
                raise DataError(f"shard {url}, member '{name}' has {size:,} bytes; a class has {MAX_LABEL:,} at most")
            file.seek(offset)
            sample.label = labels.read(file.read(size), f"shard {url}, member '{name}'")
    if sample is not None:
        yield _finished(sample, url)


def _finished(sample: _Sample, url: str) -> tuple[int, int, int]:
    if sample.image is None:
        kinds = ", ".join(EXTENSIONS)
        raise DataError(f"shard {url}: sample '{sample.key}' has no image; expected one member of {kinds}")
    if sample.label is None:
        raise DataError(
            f"shard {url}, member '{sample.image[0]}': the image has no class; expected a 'cls' member beside it, or a "
            "'json' member and data.label_key, the field that holds the class"
        )
    return sample.image[1], sample.image[2], sample.label


def _split(url: str, labels: _Labels) -> Split:
    """Scan all shards of a split, in order."""

    def scanned(shard: str) -> np.ndarray:
        with opened(shard) as file:
            return np.array(list(_samples(file, clean(shard), labels)), dtype=np.int64).reshape(-1, 3)

    named = shards(url)
    reach(named[0])
    tables = in_threads(scanned, named)
    file = np.repeat(np.arange(len(named), dtype=np.int32), [len(table) for table in tables])
    offset, size, label = np.concatenate(tables).T
    root = os.path.commonprefix(named).rpartition("/")[0] + "/"
    files = Names.of((name[len(root) :] for name in named), prefix=root)
    return Split(files, file, offset.copy(), size.copy(), label.astype(np.int32))


def _inferred(train: Split, config: DataConfig) -> tuple[str, ...]:
    """Number the classes 0 to the largest label of train."""
    where = f"data.train ({clean(config.train or '')})"
    if not len(train):
        raise DataError(f"{where} has no images: its shards hold no samples")
    largest = int(train.label.max())
    if largest == 0:
        raise DataError(f"{where}: every image is of class 0; expected 2 classes or more")
    if largest >= len(train):  # also keeps a wild number from becoming a list of names
        shard = clean(train.files[int(train.file[int(train.label.argmax())])])
        raise DataError(
            f"shard {shard} has class index {largest}, but {where} has only {len(train)} images: classes would be "
            "empty. Correct the class, or give data.classes and data.subset"
        )
    return numbered(largest + 1)
