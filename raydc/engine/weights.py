"""Teacher weights and statistics, once a node: a local file that every worker of the node maps.

Mapped pages are shared and private on write. The object store would map them writable for all (one stray write
corrupts every worker), so tensors of this size do not travel through it.

What lies on no local disk is copied into a cache below the temporary folder (``TMPDIR``), under its digest. A copy that
is not what its name says, cut by a full disk say, is fetched again; the longest unused ones make room for new ones.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from raydc.engine.run import Run
from raydc.errors import ClusterError, DataError
from raydc.store.faults import clean
from raydc.store.folder import Folder
from raydc.teachers.teacher import Teacher, TeacherRecord, load

CACHE_BYTES = 16 * 2**30
"""What the copies of all runs may take of a node's disk: the teachers and statistics of several large runs. One that
still is mapped lives on until nobody maps it."""
PIECE_BYTES = 64 * 2**20
"""Fetched at once: this much memory, and this much again when a request fails."""


def read_record(folder: Folder, name: str) -> TeacherRecord:
    """The record of a teacher that squeeze has committed."""
    return TeacherRecord.model_validate(folder.read_json(f"{name}.json"))


def teacher(run: Run, name: str, device: torch.device) -> Teacher:
    """Load a squeezed teacher onto a device, through this node's copy of its weights."""
    folder = run.teachers()
    record = read_record(folder, name)
    return load(record, local_copy(folder, f"{name}.safetensors", record.sha256), device)


def tensors(folder: Folder, name: str, sha256: str) -> dict[str, torch.Tensor]:
    """Map a safetensors file of the folder, through this node's copy of it.

    The tensors are the pages of the file: a slice of rows takes memory, shared with all workers of the node, for those
    rows only. A write is seen by its writer alone, which pays for the page.

    Raises:
        DataError: the file is missing, not the one of that digest, or not safetensors.
    """
    path = local_copy(folder, name, sha256)
    if path == folder.local(name):
        _same(path, sha256, folder, name)
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise DataError(f"{clean(folder.url)}/{name} is not a safetensors file: {error}") from None


def local_copy(folder: Folder, name: str, sha256: str) -> Path:
    """A path on this node that holds a file of the folder: the file itself if local, else a copy fetched once.

    A copy has been held against the digest. The file itself has not: whoever maps it does so
    (``teachers.teacher.load``).

    Raises:
        DataError: no such file, or one of another digest.
        ClusterError: this node has no room for a copy, or no disk that takes one.
    """
    here = folder.local(name)
    if here is not None:
        return here
    path = Path(tempfile.gettempdir()) / f"raydc-{os.getuid()}" / "weights" / sha256
    if not _holds(path, sha256):
        try:
            with _locked(path):
                if not _holds(path, sha256):  # nobody else has fetched it while this one waited
                    _fetch(folder, name, path, sha256)
                    _make_room(path.parent)
        except OSError as error:  # of this disk: what the folder itself has to say is an error of ours
            what = f"{clean(folder.url)}/{name}"
            said = f"this node keeps no copy of {what} at {path}: {error}. Mend or free its disk"
            raise ClusterError(said) from error
    return path


def _holds(path: Path, sha256: str) -> bool:
    """Whether a copy is there and whole; from now on it is the last used one."""
    try:
        os.utime(path)
        return _digest(path) == sha256
    except (OSError, DataError):  # absent or unreadable: the fetch that follows says what is wrong, if it still is
        return False


def _digest(path: Path) -> str:
    return Folder(path.parent).digest(path.name).sha256


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep the other workers of the node out; the system takes the lock from a process that dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(folder: Folder, name: str, path: Path, sha256: str) -> None:
    # One name for all tries: what a killed worker has left is overwritten.
    part = path.with_suffix(".part")
    try:
        size = folder.size(name)
        with part.open("wb") as file:
            for begin in range(0, size, PIECE_BYTES):
                file.writelines(folder.ranges(name, [(begin, min(PIECE_BYTES, size - begin))]))
        _same(part, sha256, folder, name)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _same(path: Path, sha256: str, folder: Folder, name: str) -> None:
    found = _digest(path)
    if found != sha256:
        raise DataError(
            f"{clean(folder.url)}/{name} has SHA-256 {found[:12]}..., expected {sha256[:12]}...: the file was changed "
            "or cut. Remove it and run squeeze again"
        )


def _make_room(cache: Path) -> None:
    """Remove the longest unused copies beyond what the cache may hold; never the last used one."""
    used = []
    for path in cache.iterdir():
        with suppress(FileNotFoundError):  # another worker makes room too
            if path.suffix not in (".lock", ".part"):
                used.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    total = 0
    for place, (_, size, path) in enumerate(sorted(used, reverse=True)):
        total += size
        if place and total > CACHE_BYTES:
            path.unlink(missing_ok=True)
