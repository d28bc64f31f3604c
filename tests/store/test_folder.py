from __future__ import annotations

import errno
import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from raydc.errors import DataError
from raydc.store.faults import clean
from raydc.store.folder import Folder, read_url, resolve


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(tmp_path / "run") if request.param == "disk" else Folder(f"memory://{tmp_path.name}/run")


def test_what_is_written_is_read(folder: Folder) -> None:
    receipt = folder.write("a/b.bin", b"0123456789")
    assert (receipt.path, receipt.bytes, receipt.sha256) == ("a/b.bin", 10, hashlib.sha256(b"0123456789").hexdigest())
    assert folder.read("a/b.bin") == folder.child("a").read("b.bin") == b"0123456789"
    assert folder.ranges("a/b.bin", [(8, 2), (0, 3)]) == [b"89", b"012"]
    assert folder.size("a/b.bin") == 10 and folder.digest("a/b.bin") == receipt
    with folder.open("a/b.bin") as file:
        file.seek(4)
        assert file.read(2) == b"45"
    folder.write("a/b.bin", b"new")
    assert folder.read("a/b.bin") == b"new"


def test_listing_shows_finished_files_directly_below(folder: Folder) -> None:
    assert folder.list() == [] and folder.list("parts/") == []
    for name in ("b.json", "a.json", ".hidden", "_tmp.json", "parts/c.json", "parts/deep/d.json"):
        folder.write(name, b"{}")
    assert folder.list() == ["a.json", "b.json"]
    assert folder.list("a") == ["a.json"]
    assert folder.list("parts/") == ["parts/c.json"]


def test_presence_and_removal(folder: Folder) -> None:
    assert not folder.exists("x")
    folder.write("x", b"")
    assert folder.exists("x")
    folder.remove("x")
    folder.remove("x")
    assert not folder.exists("x")


def test_json_goes_both_ways_and_damage_is_named(folder: Folder) -> None:
    folder.write_json("t.json", {"b": 1, "a": [1.5, "x"]})
    assert folder.read_json("t.json") == {"b": 1, "a": [1.5, "x"]}
    folder.write("t.json", b"{")
    with pytest.raises(DataError, match=r"t\.json is not valid JSON"):
        folder.read_json("t.json")
    with pytest.raises(DataError, match="cannot be written as JSON"):
        folder.write_json("t.json", {"loss": float("nan")})


def test_a_missing_file_and_a_short_one_are_named(folder: Folder) -> None:
    with pytest.raises(DataError, match=r"cannot read .*nothing\.tar: it does not exist"):
        folder.read("nothing.tar")
    with pytest.raises(DataError, match="does not exist"):
        folder.size("nothing.tar")
    folder.write("short", b"123")
    with pytest.raises(DataError, match="short is truncated: it ends before byte 9"):
        folder.ranges("short", [(0, 2), (1, 8)])


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd"])
def test_names_stay_inside(folder: Folder, name: str) -> None:
    with pytest.raises(DataError, match=r"without '\.\.'"):
        folder.read(name)


def test_a_folder_travels_by_its_absolute_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Folder("runs/x")
    assert folder.url == str(tmp_path / "runs" / "x") and folder.local("a") == tmp_path / "runs" / "x" / "a"
    assert Folder(f"file://{tmp_path}/runs/x") == folder == pickle.loads(pickle.dumps(folder))  # noqa: S301
    assert Folder("memory://x").local() is None


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    folder.write("x", b"old")
    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, _full)
            with pytest.raises(DataError) as caught:
                folder.write("x", b"n" * 12345)
        assert "no space left, 12,345 bytes were to be written" in str(caught.value)
        assert str(tmp_path / "x") in str(caught.value) and "run the same command again" in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)
        assert folder.read("x") == b"old" and [p.name for p in tmp_path.iterdir()] == ["x"]


def _full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_refused_access_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(DataError, match="access was refused"):
        Folder(tmp_path).write("x", b"")


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    Folder(tmp_path).write("x", b"")
    with pytest.raises(DataError, match="cannot write"):
        Folder(tmp_path / "x").write("y", b"")


def test_files_of_installed_packages() -> None:
    assert read_url("package:raydc/py.typed") == b""
    assert resolve("s3://bucket/x") == "s3://bucket/x"
    with pytest.raises(DataError, match="pip install no-such-package"):
        resolve("package:no_such_package/weights.pt")
    with pytest.raises(DataError, match=r"holds no 'weights\.pt'"):
        resolve("package:raydc/weights.pt")
    with pytest.raises(DataError, match=r"without '\.\.'"):
        resolve("package:raydc/../secret")


def test_an_unknown_kind_of_storage_is_told() -> None:
    with pytest.raises(DataError, match="cannot read nosuch://x/y"):
        read_url("nosuch://x/y")


def test_credentials_never_reach_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "TOPSECRET123")
    for text in ("https://me:hunter2@host/x", "https://host/x?X-Amz-Signature=hunter2", "key TOPSECRET123hunter"):
        assert "hunter2" not in clean(text) and "TOPSECRET" not in clean(text)
    with pytest.raises(DataError) as caught:
        read_url("nosuch://me:hunter2@host/y?sig=hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_cause_that_spells_a_secret_is_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def leak(*_: Any) -> None:
        raise OSError("GET https://host/x?token=hunter2 failed")

    monkeypatch.setattr(os, "replace", leak)
    with pytest.raises(DataError) as caught:
        Folder(tmp_path).write("x", b"")
    assert "hunter2" not in str(caught.value) and caught.value.__cause__ is None and caught.value.__suppress_context__
