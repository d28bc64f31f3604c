"""A remote file as Python reads files: every read is a request for a range of its own, with the folder's patience."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import BinaryIO, cast

from raydc.errors import DataError

BLOCK = 1 << 20
"""Bytes of a request for less than that: a request costs as much time as about this many bytes."""


class RemoteFile(io.RawIOBase):
    """Reads a file of known size by ranges; seekable, never written."""

    def __init__(self, part: Callable[[int, int], bytes], size: int) -> None:
        self._part, self._size, self._at = part, size, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; it costs nothing."""
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if at < 0:
            raise DataError(f"byte {at} was asked for: a file begins at 0")
        self._at = at
        return at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read as much as fits."""
        count = max(0, min(len(buffer), self._size - self._at))
        if count:
            buffer[:count] = self._part(self._at, count)
            self._at += count
        return count


def buffered(part: Callable[[int, int], bytes], size: int) -> BinaryIO:
    """A file whose small reads come out of a block; ``part(offset, size)`` fetches bytes."""
    return cast(BinaryIO, io.BufferedReader(RemoteFile(part, size), BLOCK))
