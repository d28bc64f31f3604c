"""What a URL means to the machine: a local path, or an fsspec file system and a key in it. For ``folder.py`` only."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path
from typing import Any, BinaryIO, cast

from fsspec.core import url_to_fs

from raydc.errors import DataError

CHUNK = 8 << 20
"""Bytes held at once while hashing."""
_S3_OPTIONS = {"config_kwargs": {"connect_timeout": 3, "read_timeout": 20, "retries": {"total_max_attempts": 2}}}
"""An unreachable bucket is reported within seconds; s3fs itself still retries throttling and server errors."""


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
    return _S3_OPTIONS if url.startswith(("s3://", "s3a://")) else {}


def connect(url: str) -> tuple[Any, str]:
    """The file system (cached for this process by fsspec, so safe after a fork) and the path in it."""
    return url_to_fs(url, **options(url))


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
