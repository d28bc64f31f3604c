"""Class folders: ``ROOT/CLASS/.../IMAGE``, on a disk or in an object store; the folder's name is the class's."""

from __future__ import annotations

import numpy as np

from raydc.config.stages.data import DataConfig
from raydc.errors import DataError
from raydc.sources.classes import class_list, few, select
from raydc.sources.decode import EXTENSIONS
from raydc.sources.places import folders_and_files, images_below, in_threads, is_image
from raydc.sources.split import WHOLE, Names, Split
from raydc.store.faults import clean
from raydc.store.folder import Folder


def find(config: DataConfig) -> tuple[tuple[str, ...], Split, Split | None]:
    """List the images of both splits; without a class list, the classes are train's folders sorted by name.

    Returns:
        The classes that were asked for, the training split, and the validation split where the configuration has one.

    Raises:
        DataError: a missing folder, class folders that do not fit the class list or differ between the splits, a class
            without images, images outside of any class folder.
        ConfigError: a class list or subset that cannot be.
    """
    root = config.train or ""  # never absent: the configuration refuses it
    where = f"data.train ({clean(root)})"
    present = _class_folders(root, where)
    space = _label_space(config, present, where)
    chosen = [space[c] for c in select(config.subset, space, "data.subset")]
    train = _split(root, where, chosen, present, config.partial)
    if config.validation is None:
        return tuple(chosen), train, None
    return tuple(chosen), train, _validation(config, config.validation, space, chosen)


def _class_folders(url: str, where: str) -> set[str]:
    folders, files = folders_and_files(Folder(url).url)
    loose = [name for name in files if is_image(name)]
    if loose:
        raise DataError(
            f"{where} has {len(loose)} image(s) outside of any class folder: {few(loose, 3)}. Expected one "
            "folder a class with its images; move or remove them (or set data.use: webdataset for a folder of tars)"
        )
    if not folders:
        raise DataError(f"{where} has no class folders; expected one folder a class with its images in it")
    return set(folders)


def _label_space(config: DataConfig, present: set[str], where: str) -> tuple[str, ...]:
    """The names and order of all classes, checked against the folders of train."""
    if config.classes is None or isinstance(config.classes, int):
        if isinstance(config.classes, int) and len(present) != config.classes:
            raise DataError(f"{where} has {len(present)} class folders, but data.classes says {config.classes}")
        if len(present) < 2:
            raise DataError(f"{where} has one class folder, {few(sorted(present))}; expected 2 classes or more")
        return tuple(sorted(present))
    space = class_list(config.classes)
    _refuse_unknown(config, present, space, where)
    return space


def _refuse_unknown(config: DataConfig, present: set[str], space: tuple[str, ...], where: str) -> None:
    unknown = sorted(present - set(space))
    if unknown and config.subset is None:
        raise DataError(
            f"{where} has {len(unknown)} class folder(s) that are not in the list of {len(space)} classes: "
            f"{few(unknown)}. Correct data.classes, or name the classes to keep in data.subset"
        )


def _validation(config: DataConfig, url: str, space: tuple[str, ...], chosen: list[str]) -> Split:
    where = f"data.validation ({clean(url)})"
    present = _class_folders(url, where)
    if config.classes is None or isinstance(config.classes, int):
        extra, lacking = sorted(present - set(space)), sorted(set(chosen) - present)
        if extra or lacking:
            parts = [f"{few(extra)} only in validation"] if extra else []
            parts += [f"{few(lacking)} only in training"] if lacking else []
            raise DataError(
                f"the class folders of {where} differ from those of data.train: {'; '.join(parts)}. "
                "Both need the same classes under the same names"
            )
    else:
        _refuse_unknown(config, present, space, where)
    return _split(url, where, chosen, present, config.partial)


def _split(url: str, where: str, chosen: list[str], present: set[str], partial: bool) -> Split:
    """List the images of the chosen classes, in the order of the classes and of their names."""
    absent = [name for name in chosen if name not in present]
    if absent and not partial:
        raise DataError(f"{where}: empty class, no folder named {few(absent)} (of {len(chosen)} classes)")
    root = Folder(url).url

    def listed(name: str) -> Names:
        paths = images_below(f"{root}/{name}") if name in present else ()
        return Names.of(f"{name}/{path}" for path in paths)

    tables = in_threads(listed, chosen)
    empty = [name for name, table in zip(chosen, tables, strict=True) if not len(table)]
    if empty and not partial:
        raise DataError(
            f"{where}: empty class, no images in its folder: {few(empty)}. Expected files that end in "
            f"{', '.join('.' + e for e in EXTENSIONS)}; add images, or name the classes to keep in data.subset"
        )
    counts = [len(table) for table in tables]
    total = sum(counts)
    return Split(
        files=Names.join(tables, prefix=f"{root}/"),
        file=np.arange(total, dtype=np.int32),
        offset=np.zeros(total, np.int64),
        size=np.full(total, WHOLE, np.int64),
        label=np.repeat(np.arange(len(chosen), dtype=np.int32), counts),
    )
