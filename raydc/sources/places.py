"""Listing and reading what a data set's URLs name: class folders, shards, and images as byte ranges of files."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from raydc.errors import DataError
from raydc.sources.decode import EXTENSIONS
from raydc.sources.split import WHOLE
from raydc.store.backend import connect
from raydc.store.faults import clean, told
from raydc.store.folder import Folder, read_url
from raydc.store.patience import READING_S, patiently

THREADS = 16
"""Listings and scans in flight: they wait for the store, so more than cores; 16 stay under the limits of S3."""

_T = TypeVar("_T")
_R = TypeVar("_R")


def in_threads(work: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """Apply ``work`` to every item in a small thread pool; results in order, the first error in order is raised."""
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def folders_and_files(url: str) -> tuple[list[str], list[str]]:
    """Return the sorted names of the folders and of the files directly below a folder, hidden ones (``.x``) left out.

    It is what a data set is opened by, so it has no patience: a wrong URL is told within seconds.

    Raises:
        DataError: there is no such folder or bucket, or it cannot be read.
    """
    with told("list", url):
        local = Folder(url).local()
        entries = _local_entries(local) if local is not None else _remote_entries(url)
    names: dict[bool, list[str]] = {True: [], False: []}
    for name, is_folder in sorted(entries):
        if not name.startswith("."):
            names[is_folder].append(name)
    return names[True], names[False]


def _local_entries(folder: Path) -> list[tuple[str, bool]]:
    if folder.is_file():
        raise DataError(f"{folder} is a file; expected a folder")
    return [(path.name, path.is_dir()) for path in folder.iterdir()]


def _remote_entries(url: str) -> list[tuple[str, bool]]:
    fs, path = connect(url)
    found, here = fs.ls(path, detail=True), path.rstrip("/")
    if not found and not fs.exists(path):
        raise FileNotFoundError(path)
    if [(e["name"], e["type"]) for e in found] == [(here, "file")]:
        raise DataError(f"{clean(url)} is a file; expected a folder")
    below = [(e["name"].rstrip("/"), e["type"] == "directory") for e in found]
    return [(_base(name), is_folder) for name, is_folder in below if name != here]  # a marker may stand for the folder


def images_below(url: str) -> list[str]:
    """Return the sorted paths, relative to a folder, of the image files in it and in folders below it.

    Raises:
        DataError: as ``folders_and_files``; with patience, for it is one of as many listings as there are classes.
    """
    return patiently(lambda: _images_below(url), "list", url, READING_S)


def _images_below(url: str) -> list[str]:
    local = Folder(url).local()
    if local is not None:  # fsspec would stat every file
        tree = os.walk(local, onerror=_raise, followlinks=True)
        start = len(str(local)) + 1
        paths = (f"{at}/{name}"[start:] for at, _, names in tree for name in names)
        return sorted(path for path in paths if is_image(path))
    fs, path = connect(url)
    start = len(path.rstrip("/")) + 1
    return sorted(found[start:] for found in fs.find(path) if is_image(found[start:]))


def is_image(path: str) -> bool:
    """Tell whether a relative path is that of an image: by its extension, and no part of it hidden (``.x``)."""
    stem, dot, extension = _base(path).rpartition(".")
    return bool(dot) and extension.lower() in EXTENSIONS and not f"/{path}".count("/.")


def expand(pattern: str) -> list[str]:
    """Expand the braces of a pattern: ``{000..012}`` counts, keeping the zeros, and ``{a,b}`` lists; in any number."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    body = found.group(1)
    span = re.fullmatch(r"(\d+)\.\.(\d+)", body)
    if span:
        first, last = span.groups()
        width = len(first) if len(first) == len(last) or first.startswith("0") else 0
        words = [str(n).zfill(width) for n in range(int(first), int(last) + 1)]
    else:
        words = body.split(",")
    if not words or (span is None and len(words) == 1):
        raise DataError(f"'{{{body}}}' in {clean(pattern)} names no shards; expected {{000000..000012}} or {{a,b}}")
    return [url for word in words for url in expand(pattern[: found.start()] + word + pattern[found.end() :])]


@contextmanager
def opened(url: str) -> Iterator[BinaryIO]:
    """Open a file for reading in order with long skips; nothing but the parts asked for is kept.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    folder, _, name = url.rpartition("/")
    with told("read", url), Folder(folder, READING_S).open(name) as file:
        yield file


def reach(url: str) -> None:
    """Ask once for a file, so that a store that cannot be reached is told at once.

    Raises:
        DataError: it did not answer. A missing file is for its reader to tell.
    """
    folder, _, name = url.rpartition("/")
    Folder(folder).exists(name)


def read_place(url: str, offset: int, size: int) -> bytes:
    """Return ``size`` bytes from ``offset`` of a file, or all of it where ``size`` is -1; patient as a run must be.

    Raises:
        DataError: the file is missing, cannot be read, or ends before that.
    """
    if size == WHOLE:
        return read_url(url, READING_S)
    folder, _, name = url.rpartition("/")
    return Folder(folder, READING_S).ranges(name, [(offset, size)])[0]


def member_name(url: str, offset: int) -> str:
    """Return the name of the tar member whose payload begins at ``offset``, from the header before it."""
    header = read_place(url, offset - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE)
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name
    except tarfile.HeaderError:
        return f"at byte {offset}"


def _raise(error: OSError) -> None:
    raise error  # os.walk would leave out a folder that cannot be read


def _base(path: str) -> str:
    return path.rpartition("/")[2]
