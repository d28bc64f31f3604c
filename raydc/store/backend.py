"""What a URL means to the machine: a local path, or an fsspec file system and a key in it. Its callers add patience."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from fsspec.core import url_to_fs

from raydc.errors import DataError

CHUNK = 8 << 20
"""Bytes held at once while hashing."""
PART_BYTES = 16 << 20
"""Bytes of one request of a large upload to S3: what a cut connection costs."""
_S3_OPTIONS = {"config_kwargs": {"connect_timeout": 3, "read_timeout": 20, "retries": {"total_max_attempts": 2}}}
TRIES = 2
"""Of s3fs, around those of its client: an unreachable bucket is told within seconds, and one that takes requests and
never answers within 80. Whoever has more patience than that asks again (``patience.py``)."""
_OBJECT_STORES = {
    "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "hf", "http", "https", "memory",
}  # fmt: skip
"""Where an upload becomes visible when it is whole. Everywhere else a file is written aside and renamed."""
_LISTING = ("s3://", "s3a://", "gs://", "gcs://", "az://", "abfs://", "abfss://", "hf://")
"""Whose file systems would keep listings: a dict for each of 13 million files, and stale, for others write there."""


def checked(name: str) -> str:
    """A name that stays inside its folder, or a DataError."""
    if name.startswith("/") or ".." in name.split("/"):
        raise DataError(f"'{name}' is not a name inside a folder: it must be relative and without '..'")
    return name.strip("/")


def local_path(url: str) -> Path | None:
    """The absolute path of a local URL, else None."""
    if url.startswith("file://"):
        url = url.removeprefix("file://")
    elif "://" in url or "::" in url:
        return None
    return Path(os.path.abspath(Path(url).expanduser()))  # noqa: PTH100 - resolve() would follow links


def options(url: str) -> dict[str, Any]:
    """What fsspec is told besides the URL."""
    kept = {"use_listings_cache": False} if url.startswith(_LISTING) else {}
    return {**kept, **_S3_OPTIONS} if url.startswith(("s3://", "s3a://")) else kept


def patient_options(url: str, patience: float) -> dict[str, Any]:
    """The same for a file system that is handed to others and must ask again by itself: S3's client can."""
    if patience <= 0 or not url.startswith(("s3://", "s3a://")):
        return options(url)
    # Standard mode waits 10 s on average and 20 s at most once a few tries have failed.
    retries = {"mode": "standard", "total_max_attempts": 6 + int(patience / 10)}
    return {**options(url), "config_kwargs": {**_S3_OPTIONS["config_kwargs"], "retries": retries}}


def connect(url: str) -> tuple[Any, str]:
    """The file system (cached for this process by fsspec, so safe after a fork) and the path in it."""
    fs, key = url_to_fs(url, **options(url))
    if "s3" in _kinds(fs):
        fs.retries = TRIES
    return fs, key


def _kinds(fs: Any) -> set[str]:
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)


def info(url: str) -> dict[str, Any] | None:
    """Facts of a file, with ``size``; None if it is absent."""
    path = local_path(url)
    if path is not None:
        return {"size": path.stat().st_size} if path.exists() else None
    fs, key = connect(url)
    fs.invalidate_cache()  # other machines write here too
    try:
        return cast("dict[str, Any]", fs.info(key))
    except FileNotFoundError:
        return None


def names(url: str) -> list[str]:
    """Names of the files directly in a folder; none if it is absent."""
    path = local_path(url)
    if path is not None:
        return [p.name for p in path.iterdir() if p.is_file()] if path.is_dir() else []
    fs, key = connect(url)
    fs.invalidate_cache()
    try:
        entries = fs.ls(key, detail=True)
    except FileNotFoundError:
        return []
    files = [e["name"].strip("/") for e in entries if e["type"] == "file"]
    return [f.rsplit("/", 1)[-1] for f in files if f != key.strip("/")]  # S3 lists an empty file as its own folder


def holds(url: str) -> bool:
    """Whether anything is in a folder, or is in its place."""
    path = local_path(url)
    if path is not None:
        return path.exists() and (not path.is_dir() or any(path.iterdir()))
    fs, key = connect(url)
    fs.invalidate_cache()
    try:
        return any(str(name).strip("/") != key.strip("/") for name in fs.ls(key, detail=False))
    except FileNotFoundError:
        return False


def whole(url: str) -> bytes:
    """All bytes of a file."""
    path = local_path(url)
    if path is not None:
        return path.read_bytes()
    fs, key = connect(url)
    return cast(bytes, fs.cat_file(key))


def parts(url: str, spans: Sequence[tuple[int, int]]) -> list[bytes | Exception]:
    """Parts of a file, each given as (offset, size); shorter where the file ends, an error where one was not read."""
    path = local_path(url)
    if path is not None:
        with path.open("rb") as file:
            return [part(file, offset, size) for offset, size in spans]
    fs, key = connect(url)
    starts, ends = [o for o, _ in spans], [o + n for o, n in spans]
    found = fs.cat_ranges([key] * len(spans), starts, ends, on_error="return")
    return [p if isinstance(p, Exception) else bytes(p) for p in found]


def remove(url: str) -> None:
    """Remove a file, if it is there."""
    path = local_path(url)
    if path is not None:
        path.unlink(missing_ok=True)
        return
    fs, key = connect(url)
    with suppress(FileNotFoundError):  # also where an earlier try removed it and its answer was lost
        fs.rm_file(key)


def part(file: BinaryIO, offset: int, size: int) -> bytes:
    """Bytes of an open file from an offset; fewer at its end."""
    file.seek(offset)
    return file.read(size)


def hashed(file: BinaryIO) -> tuple[int, str]:
    """Size and SHA-256 of the rest of an open file."""
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def write_remote(url: str, data: bytes) -> None:
    """One whole upload where that is atomic, else a write under a hidden name and a rename."""
    fs, key = connect(url)
    if _kinds(fs) & _OBJECT_STORES:
        fs.pipe_file(key, data, **({"chunksize": PART_BYTES} if "s3" in _kinds(fs) else {}))
        return
    folder, _, name = key.rpartition("/")
    temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:12]}.tmp"
    fs.makedirs(folder, exist_ok=True)
    try:
        fs.pipe_file(temporary, data)
        _rename(fs, temporary, key)
    except BaseException:
        with suppress(Exception):  # what failed first is what is told
            fs.rm_file(temporary)
        raise


def _rename(fs: Any, old: str, new: str) -> None:
    """Replace a file. Some stores (HDFS, SMB) refuse that by an error or in silence: there it is removed first."""
    try:
        fs.mv(old, new)
        refused = fs.exists(old)
    except Exception:
        if not (fs.exists(old) and fs.exists(new)):
            raise
        refused = True
    if refused:
        fs.rm_file(new)
        fs.mv(old, new)


def write_local(path: Path, data: bytes, sha256: str) -> None:
    """Write under a hidden name, sync, read back, and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with temporary.open("rb") as file:
            if hashed(file) != (len(data), sha256):
                raise DataError(f"{path}: the bytes read back differ from those written. Check the disk")
        os.replace(temporary, path)  # noqa: PTH105 - the one call that makes the file visible
    except BaseException:
        with suppress(OSError):  # what failed first is what is told
            temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """Make the rename survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
