"""A raydc data set as others have published it: its shards are kept byte for byte, and so is its identity."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from raydc.config.stages.adopt import AdoptConfig
from raydc.config.stages.data import DataConfig
from raydc.errors import DataError, nearest
from raydc.sources.given.base import Glance, Taken, check_size
from raydc.sources.places import in_threads
from raydc.sources.shard import MAX_CLASS, parse_labels, parse_shard
from raydc.store import manifest as manifests
from raydc.store import tar
from raydc.store.checked import read_checked
from raydc.store.faults import clean, told
from raydc.store.folder import Folder
from raydc.store.patience import READING_S
from raydc.store.schema import ImageFile, Manifest


@dataclass(frozen=True, eq=False)
class Published:
    """Its images, in the order of its shards; a unit is a shard."""

    form: ClassVar[str] = "raydc"
    folder: Folder
    manifest: Manifest
    labels: np.ndarray
    cuts: list[int]

    def take(self, first: int, stop: int) -> Taken:
        """Read a shard, whose digest must be that of the manifest."""
        file = self.manifest.images.files[self.cuts.index(first)]
        data = read_checked(self.folder, file)
        return Taken(parse_shard(data, self.manifest, file).encoded, file.sha256, {file.path: data})

    def fingerprint(self) -> str:
        """Of the identity of the data set."""
        return hashlib.sha256(self.manifest.dataset_id.encode()).hexdigest()


def glance(adopt: AdoptConfig) -> Glance:
    """Read the manifest."""
    manifest = manifests.read(Folder(adopt.url))
    images = manifest.images
    if not images.count:
        raise DataError(f"{clean(adopt.url)} is a data set without images")
    return Glance("raydc", images.count, images.count / max(1, manifest.source.classes), images.codec, images.quality)


def find(adopt: AdoptConfig, data: DataConfig, classes: tuple[str, ...]) -> Published:
    """Read the class of every image.

    Raises:
        DataError: a damaged data set, one of another label space, or one of another image size.
    """
    manifest = manifests.read(Folder(adopt.url))
    folder = Folder(adopt.url, READING_S)
    _same_classes(manifests.read_classes(folder, manifest), classes, clean(adopt.url))
    height, width = manifest.images.size
    if height != width or adopt.resize:
        raise DataError(f"{clean(adopt.url)} has images of {height}x{width} pixels, and is judged as it is: expected "
                        f"{data.image_size}x{data.image_size}, and no adopt.resize")  # fmt: skip
    check_size(height, data.image_size, clean(adopt.url))

    def labels(file: ImageFile) -> np.ndarray:
        with told("read", f"{folder.url}/{file.path}"), folder.open(file.path) as stream:
            places = [place for name, *place in tar.scan(stream, file.path) if name.endswith(".cls")]
            members = []
            for offset, size in places:
                stream.seek(offset)
                members.append(stream.read(min(size, MAX_CLASS + 1)))
        if len(members) != file.samples:
            raise DataError(f"{file.path} has {len(members)} classes, the manifest states {file.samples} samples")
        return parse_labels(members, len(classes), file.path)

    found = np.concatenate(in_threads(labels, manifest.images.files)).astype(np.int32)
    return Published(folder, manifest, found, np.cumsum([0, *(f.samples for f in manifest.images.files)]).tolist())


def _same_classes(found: tuple[str, ...], expected: tuple[str, ...], where: str) -> None:
    if found == expected:
        return
    if len(found) != len(expected):
        raise DataError(f"{where} has {len(found)} classes, the data of this config {len(expected)}: another label "
                        "space. Judge it with a config of its own data set")  # fmt: skip
    n = next(n for n, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
    raise DataError(
        f"{where} has another label space than the data of this config: class {n} is '{found[n]}' there and "
        f"'{expected[n]}' here{nearest(found[n], list(expected))}. Give data.classes in its order ({where}/classes.txt)"
    )
