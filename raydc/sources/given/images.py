"""Class folders of distilled images, as most authors hand them on (torchvision's ImageFolder layout)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from raydc.config.stages.adopt import AdoptConfig
from raydc.config.stages.data import DataConfig
from raydc.errors import DataError
from raydc.sources.classes import few
from raydc.sources.decode import EXTENSIONS, decode, decode_resized, encode
from raydc.sources.given.base import Glance, Taken, even_cuts
from raydc.sources.given.meaning import meaning
from raydc.sources.places import folders_and_files, images_below, in_threads, is_image, read_place
from raydc.sources.split import WHOLE, Names
from raydc.store.faults import clean
from raydc.store.folder import Folder


@dataclass(frozen=True, eq=False)
class ClassFolders:
    """Images in the order of their folders and names."""

    form: ClassVar[str] = "folders"
    files: Names
    labels: np.ndarray
    cuts: list[int]
    data: DataConfig
    resize: bool

    def take(self, first: int, stop: int) -> Taken:
        """Read, decode and encode images as PNG: their pixels are kept, their bytes are not."""
        raw = in_threads(lambda n: read_place(self.files[n], 0, WHOLE), range(first, stop))
        digest = hashlib.sha256()
        for data in raw:
            digest.update(hashlib.sha256(data).digest())
        images = [encode(self._pixels(d, self.files[n]), "png") for n, d in enumerate(raw, first)]
        return Taken(images, digest.hexdigest())

    def _pixels(self, data: bytes, url: str) -> np.ndarray:
        side, rule = self.data.image_size, (self.data.resize, self.data.crop_fraction)
        if self.resize:
            return decode_resized(data, clean(url), side, *rule)
        try:
            return decode(data, clean(url), (side, side))
        except DataError as error:
            if " pixels (height x width)" not in str(error):
                raise
            raise DataError(
                f"{error}, data.image_size. All images of a set that is judged have that size; to bring them to it by "
                "the rule of the data: --set adopt.resize=true"
            ) from error

    def fingerprint(self) -> str:
        """Of the names below the root and the classes."""
        digest = hashlib.sha256(self.labels.astype("<i4").tobytes())
        digest.update(self.files.text.tobytes() + self.files.ends.astype("<i8").tobytes())
        return digest.hexdigest()


def glance(adopt: AdoptConfig) -> Glance:
    """Count images and folders."""
    tables = [t for _, t in _tables(adopt.url) if len(t)]
    count = sum(map(len, tables))
    if not count:
        kinds = ", ".join("." + e for e in EXTENSIONS)
        raise DataError(f"{clean(adopt.url)} has class folders, but no images in them; expected files of {kinds}")
    return Glance("folders", count, count / len(tables))


def find(adopt: AdoptConfig, data: DataConfig, classes: tuple[str, ...]) -> ClassFolders:
    """List the images of every class folder; a class may have none.

    Raises:
        DataError: images outside of class folders, folders that are no classes, links that lead out of the set.
    """
    tables = _tables(adopt.url)
    found = meaning([name for name, _ in tables], classes, adopt.folders, clean(adopt.url))
    order = np.argsort(found, kind="stable").tolist()
    counts = [len(tables[n][1]) for n in order]
    files = Names.join([tables[n][1] for n in order], prefix=f"{Folder(adopt.url).url}/")
    labels = np.repeat(np.array([found[n] for n in order], np.int32), counts)
    return ClassFolders(files, labels, even_cuts(sum(counts)), data, adopt.resize)


def _tables(url: str) -> list[tuple[str, Names]]:
    """The class folders, each with the images in it and below it."""
    root = Folder(url)
    folders, files = folders_and_files(root.url)
    loose = [name for name in files if is_image(name)]
    if loose:
        raise DataError(
            f"{clean(url)} has {len(loose)} image(s) outside of any class folder: {few(loose, 3)}. Expected one folder "
            "a class with its images; move or remove them"
        )
    local = root.local()
    if local is not None:
        _refuse_links(local, folders)

    def listed(name: str) -> Names:
        return Names.of(f"{name}/{path}" for path in images_below(f"{root.url}/{name}"))

    return list(zip(folders, in_threads(listed, folders), strict=True))


def _refuse_links(root: Path, folders: Sequence[str]) -> None:
    """Refuse links to folders and links out of the set: what is judged must be what was handed on."""
    inside = root.resolve()
    for folder in folders:
        for at, below, files in os.walk(root / folder):
            linked = [Path(at, name) for name in (*below, *files) if Path(at, name).is_symlink()]
            linked += [Path(at)] if Path(at).is_symlink() else []
            for path in linked:
                if path.is_dir() or not path.resolve().is_relative_to(inside):
                    raise DataError(
                        f"{path} is a link to {path.resolve()}; a set that is judged must lie whole in its folder. "
                        "Copy what the link stands for"
                    )
