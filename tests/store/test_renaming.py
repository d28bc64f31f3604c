"""Stores where a file grows while it is written (SFTP, HDFS, SMB): written aside, then renamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from raydc.errors import StorageError
from raydc.store.folder import Folder


class Growing(MemoryFileSystem):
    """Writes byte by byte, may lose its connection at half, and may not rename onto a file."""

    protocol = "growing"
    store: dict[str, Any] = {}  # noqa: RUF012 - as in its base
    pseudo_dirs = [""]  # noqa: RUF012
    cuts = 0
    onto = "replaces"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("growing:/")))

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        """Half of it, and the rest unless the connection is cut."""
        super().pipe_file(path, value[: len(value) // 2])
        if Growing.cuts > 0:
            Growing.cuts -= 1
            raise ConnectionResetError("cut")
        super().pipe_file(path, value)

    def mv(self, path1: str, path2: str, **_: Any) -> None:
        """Rename, or what this store does instead."""
        there = self.exists(path2)
        if there and Growing.onto == "raises":
            raise FileExistsError(path2)
        if not (there and Growing.onto == "ignores"):
            self.pipe_file(path2, self.cat_file(path1))
            self.rm_file(path1)


@pytest.fixture(params=["replaces", "raises", "ignores"])
def folder(request: pytest.FixtureRequest) -> Iterator[Folder]:
    fsspec.register_implementation("growing", Growing, clobber=True)
    Growing.onto, Growing.cuts = request.param, 0
    yield Folder("growing://run")
    Growing.store.clear()


def names() -> list[str]:
    return sorted(name for name in Growing.store)


def test_a_file_is_there_whole_or_not_at_all(folder: Folder) -> None:
    folder.write("deep/x", b"old bytes")
    Growing.cuts = 1
    with pytest.raises(StorageError, match="cannot write growing://run/deep/x: it could not be reached"):
        folder.write("deep/x", b"new bytes")
    assert folder.read("deep/x") == b"old bytes" and names() == ["/run/deep/x"]
    Growing.cuts = 1
    with pytest.raises(StorageError):
        folder.write("y", b"never")
    assert not folder.exists("y") and names() == ["/run/deep/x"]


def test_a_file_is_replaced(folder: Folder) -> None:
    for data in (b"one", b"two", b"three"):
        folder.write("x", data)
        assert folder.read("x") == data and names() == ["/run/x"]


def test_a_cut_write_is_done_again(folder: Folder) -> None:
    folder.write("x", b"old")
    Growing.cuts = 2
    Folder(folder.url, 60.0).write("x", b"new bytes")
    assert folder.read("x") == b"new bytes" and names() == ["/run/x"]
