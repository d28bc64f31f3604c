"""Listing and reading what a data set's URLs name: class folders, shards, and images as byte ranges of files."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fsspec.core import url_to_fs

from raydc.errors import DataError
from raydc.sources.decode import EXTENSIONS
from raydc.sources.split import WHOLE
from raydc.store.faults import clean, told
from raydc.store.folder import Folder, read_url

THREADS = 16
"""Listings and scans in flight: they wait for the store, so more than cores; 16 stay under the limits of S3."""

_BLOCK = 1 << 20
"""Bytes of one request when a remote shard is scanned: a request costs as much time as about this many bytes."""

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
    fs, path = _filesystem(url)
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
        DataError: as ``folders_and_files``.
    """
    with told("list", url):
        local = Folder(url).local()
        if local is not None:  # fsspec would stat every file
            tree = os.walk(local, onerror=_raise, followlinks=True)
            start = len(str(local)) + 1
            paths = (f"{at}/{name}"[start:] for at, _, names in tree for name in names)
            return sorted(path for path in paths if is_image(path))
        fs, path = _filesystem(url)
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
    with told("read", url):
        local = Folder(url).local()
        if local is not None:
            with local.open("rb") as disk:
                yield disk
            return
        fs, path = _filesystem(url)
        with fs.open(path, "rb", cache_type="readahead", block_size=_BLOCK) as remote:
            yield remote


def read_place(url: str, offset: int, size: int) -> bytes:
    """Return ``size`` bytes from ``offset`` of a file, or all of it where ``size`` is -1.

    Raises:
        DataError: the file is missing, cannot be read, or ends before that.
    """
    if size == WHOLE:
        return read_url(url)
    folder, _, name = url.rpartition("/")
    return Folder(folder).ranges(name, [(offset, size)])[0]


def member_name(url: str, offset: int) -> str:
    """Return the name of the tar member whose payload begins at ``offset``, from the header before it."""
    header = read_place(url, offset - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE)
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name
    except tarfile.HeaderError:
        return f"at byte {offset}"


def _filesystem(url: str) -> tuple[Any, str]:
    # Without the listings cache, which would keep a dict for each of 13 million files, and go stale. An unreachable
    # bucket is reported within seconds; s3fs itself still retries throttling and server errors.
    timeouts = {"config_kwargs": {"connect_timeout": 3, "read_timeout": 20, "retries": {"total_max_attempts": 2}}}
    options: dict[str, Any] = timeouts if url.startswith(("s3://", "s3a://")) else {}
    return url_to_fs(url, use_listings_cache=False, **options)


def _raise(error: OSError) -> None:
    raise error  # os.walk would leave out a folder that cannot be read


def _base(path: str) -> str:
    return path.rpartition("/")[2]
