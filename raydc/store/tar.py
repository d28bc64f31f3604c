"""Tar archives whose bytes are a function of their content, and a reader that notices what is missing.

The writer spells USTAR headers (POSIX.1-1988) itself, because ``tarfile`` has changed its bytes between Python
versions and golden digests must not. The reader is ``tarfile``, which also knows GNU and PAX names, with one check
added: ``tarfile`` takes a damaged header or a missing end for the end of the archive.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

from raydc.errors import DataError

BLOCK = tarfile.BLOCKSIZE
RECORD = tarfile.RECORDSIZE
MAX_NAME = 100
MAX_HEADER = 1 << 20
"""Bytes of a header with its long name."""
MAX_SIZE = 8**11 - 1
"""The largest payload that a USTAR header can state: 8 GiB - 1."""


def build(members: Iterable[tuple[str, bytes]]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Make an archive: members in the given order, time 0, owner 0, mode 0644.

    Args:
        members: (name, payload); names are ASCII, at most 100 characters, and differ.

    Returns:
        The archive, and the (offset, size) of each payload in it.

    Raises:
        DataError: if a name or a payload does not fit the format, or a name comes twice.
    """
    out = io.BytesIO()
    places: dict[str, tuple[int, int]] = {}
    for name, data in members:
        if name in places:
            raise DataError(f"tar member '{name}' comes twice; names in a shard must differ")
        out.write(_header(name, len(data)))
        places[name] = (out.tell(), len(data))
        out.write(data)
        out.write(bytes(-len(data) % BLOCK))
    out.write(bytes(2 * BLOCK))
    out.write(bytes(-out.tell() % RECORD))
    return out.getvalue(), places


def _header(name: str, size: int) -> bytes:
    if not name.isascii() or not 0 < len(name) <= MAX_NAME or size > MAX_SIZE:
        raise DataError(f"tar member '{name}', {size} bytes: expected 1 to {MAX_NAME} ASCII characters and under 8 GiB")
    fields = [
        name.encode().ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0", b"%011o\0" % size, b"%011o\0" % 0,
        b" " * 8, b"0", bytes(100), b"ustar\x0000", bytes(32), bytes(32), b"0000000\0", b"0000000\0", bytes(155),
    ]  # fmt: skip
    header = b"".join(fields).ljust(BLOCK, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def read(data: bytes, origin: str) -> Iterator[tuple[str, bytes]]:
    """The regular files of an archive in memory: (name, payload). Errors as in :func:`scan`."""
    for name, offset, size in scan(io.BytesIO(data), origin):
        yield name, data[offset : offset + size]


def scan(file: BinaryIO, origin: str) -> Iterator[tuple[str, int, int]]:
    """The regular files of an archive as (name, offset, size), without reading payloads.

    Args:
        file: seekable, at its beginning.
        origin: what the archive is called in messages.

    Raises:
        DataError: if it is no uncompressed tar, is truncated, has a damaged header, or holds links, devices or sparse
            files.
    """
    try:
        with tarfile.open(fileobj=cast(BinaryIO, _Headers(file, origin)), mode="r:") as archive:
            for info in archive:
                _check_plain(info, origin)
                if info.isreg():
                    yield info.name, info.offset_data, info.size
            end = archive.offset
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:  # the last three: numbers that lie
        raise DataError(f"{origin} is not a whole, uncompressed tar: {error}. Copy or write it again") from error
    file.seek(end)
    tail = file.read(BLOCK)
    if tail != bytes(BLOCK):
        what = "is truncated: it ends without the end marker" if len(tail) < BLOCK else "has a damaged header"
        raise DataError(f"{origin} {what} at byte {end}. Copy or write it again")


class _Headers:
    """A file of which only headers are read: what pretends to be a longer one is refused before memory is taken."""

    def __init__(self, file: BinaryIO, origin: str) -> None:
        self.seek, self.tell = file.seek, file.tell
        self._file, self._origin = file, origin

    def read(self, size: int = -1) -> bytes:
        """A header, or the long name that belongs to one."""
        if not 0 <= size <= MAX_HEADER:
            raise DataError(f"{self._origin} has a header of {size} bytes at byte {self._file.tell()}; expected "
                            f"{MAX_HEADER} at most. It is damaged or hostile")  # fmt: skip
        return self._file.read(size)


def _check_plain(info: tarfile.TarInfo, origin: str) -> None:
    if info.size < 0 or info.issparse() or not (info.isreg() or info.isdir()):
        kind = "a sparse file" if info.issparse() else "a link" if info.issym() or info.islnk() else "no plain file"
        raise DataError(f"{origin}: member '{info.name[:80]}' is {kind}. Pack the archive again with plain files alone")
