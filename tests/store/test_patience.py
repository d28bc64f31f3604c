"""What a Folder does while its storage is busy, away, cuts connections or hangs: a real S3 client meets each fault."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import s3fs
import toys

from raydc.errors import DataError, StorageError
from raydc.store import backend, patience
from raydc.store.faults import secret, transient
from raydc.store.folder import Folder
from raydc.store.verify import verify
from tests import faulty, s3, tiny

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # botocore's and moto's own
DATA = bytes(range(256)) * 400
SPANS = [(0, 10), (50_000, 30_000), (len(DATA) - 5, 5)]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, faulty.Proxy]]:
    with faulty.bucket("patience") as found:
        yield found


def client(read_timeout: float) -> dict[str, Any]:
    return {"config_kwargs": {"connect_timeout": 2, "read_timeout": read_timeout, "retries": {"total_max_attempts": 1}}}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without the retries of the libraries, so that ours are seen; and with short ones."""
    monkeypatch.setattr(backend, "_S3_OPTIONS", client(read_timeout=10.0))
    monkeypatch.setattr(backend, "TRIES", 1)
    monkeypatch.setattr(patience, "FIRST_S", 0.01)
    monkeypatch.setattr(patience, "LONGEST_S", 0.05)
    return monkeypatch


@pytest.fixture
def proxy(served: tuple[str, faulty.Proxy], quick: pytest.MonkeyPatch) -> Iterator[faulty.Proxy]:
    found = served[1]
    found.injected.clear()
    found.requests.clear()
    found.calm()
    yield found
    found.calm()


@pytest.fixture
def folder(served: tuple[str, faulty.Proxy], proxy: faulty.Proxy, request: pytest.FixtureRequest) -> Folder:
    made = Folder(f"{served[0]}/{abs(hash(request.node.name))}", 60.0)
    made.write("here", DATA)
    return made


def everything(folder: Folder) -> None:
    """Each operation, twice, with what it must give."""
    for n in range(2):
        assert folder.write(f"new{n}", DATA).bytes == len(DATA)
        assert folder.read(f"new{n}") == folder.read("here") == DATA
        assert folder.ranges("here", SPANS) == [DATA[o : o + s] for o, s in SPANS]
        with folder.open("here") as file:
            file.seek(1000)
            assert file.read(500) == DATA[1000:1500]
        assert folder.digest("here").bytes == folder.size("here") == len(DATA)
        assert folder.exists("here") and not folder.exists("nowhere")
        assert folder.list() == ["here", f"new{n}"]
        folder.remove(f"new{n}")
        assert folder.list() == ["here"]


@pytest.mark.parametrize(
    ("fault", "settings"),
    [
        *(("busy", {"busy": 3, "status": status}) for status in (503, 500, 502, 504, 429)),
        ("cut upload", {"cut_uploads": 2}),
        ("cut download", {"cut_downloads": 3}),
        ("lost answer", {"lose_answers": 2}),
    ],
)
def test_what_fails_for_a_moment_is_tried_again(
    folder: Folder, proxy: faulty.Proxy, fault: str, settings: dict[str, int]
) -> None:
    for name, value in settings.items():
        setattr(proxy, name, value)
    everything(folder)
    assert proxy.injected[fault] > 0


def test_an_outage_is_waited_for(folder: Folder, proxy: faulty.Proxy) -> None:
    began, timer = time.monotonic(), proxy.outage(1.0)
    everything(folder)
    assert time.monotonic() - began > 1.0
    timer.join()


def test_a_storage_that_hangs_is_waited_for(folder: Folder, proxy: faulty.Proxy, quick: pytest.MonkeyPatch) -> None:
    quick.setattr(backend, "_S3_OPTIONS", client(read_timeout=0.3))
    proxy.hanging = True
    assert_fails_within(5.0, lambda: Folder(folder.url).read("here"), StorageError)

    def recover() -> None:
        tiny.wait_until(lambda: proxy.injected["hang"] >= 3, 60, "requests that hang")
        proxy.calm()

    with ThreadPoolExecutor(1) as pool:
        recovered = pool.submit(recover)
        assert folder.read("here") == DATA
        recovered.result()


def assert_fails_within(seconds: float, work: Callable[[], Any], kind: type[DataError]) -> str:
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        work()
    assert time.monotonic() - began < seconds and type(caught.value) is kind
    assert s3.SECRET not in str(caught.value)
    return str(caught.value)


def test_patience_ends_and_says_how_long_it_was(folder: Folder, proxy: faulty.Proxy) -> None:
    proxy.down()
    try:
        said = assert_fails_within(8.0, lambda: Folder(folder.url, 1.0).write("x", DATA), StorageError)
        assert "cannot write s3://patience/" in said and "could not be reached" in said
        assert re.search(r"tried \d+ times in \d+ s", said) and "the same command goes on" in said
        said = assert_fails_within(2.0, lambda: Folder(folder.url).write("x", DATA), StorageError)
        assert "could not be reached" in said and "times" not in said
        assert StorageError.exit_code == 3
    finally:
        proxy.up()
    proxy.busy = 1
    said = assert_fails_within(8.0, lambda: Folder(folder.url, 1.0).list(), StorageError)
    assert "busy or failing" in said and "SlowDown" not in said.split("(")[0]
    proxy.calm()
    assert not folder.exists("x")


def test_what_will_not_pass_is_told_at_once(folder: Folder, proxy: faulty.Proxy, tmp_path: Path) -> None:
    proxy.requests.clear()
    assert "does not exist" in assert_fails_within(5, lambda: folder.read("nothing"), DataError)
    nowhere = Folder("s3://no-such-bucket/x", 60.0)
    assert "does not exist" in assert_fails_within(5, lambda: nowhere.write("x", b"1"), DataError)
    assert sum(proxy.requests.values()) < 6
    proxy.busy, proxy.status = 1, 403
    assert "refused" in assert_fails_within(5, lambda: folder.exists("here"), DataError)
    assert "truncated" in assert_fails_within(5, lambda: _short(proxy, folder), DataError)
    assert "package" in assert_fails_within(5, lambda: Folder("gs://bucket", 60.0).read("x"), DataError)
    (tmp_path / "file").write_bytes(b"")
    assert_fails_within(5, lambda: Folder(tmp_path / "file", 60.0).write("x", b""), DataError)


def _short(proxy: faulty.Proxy, folder: Folder) -> None:
    proxy.calm()
    folder.ranges("here", [(len(DATA) - 2, 5)])


def test_no_credentials_are_told_at_once(folder: Folder, quick: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        quick.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        quick.setenv(name, "/nonexistent")
    quick.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    assert "no credentials" in assert_fails_within(5, lambda: folder.read("here"), DataError)
    s3fs.S3FileSystem.clear_instance_cache()


# Large files: several requests, one file.

PART = 5 << 20
"""The least that S3 takes."""
LARGE = os.urandom(1 << 20) * 11


def unfinished(proxy: faulty.Proxy) -> list[Any]:
    return list(proxy.direct.list_multipart_uploads(Bucket="patience").get("Uploads", []))


def test_a_cut_large_upload_leaves_nothing_or_all(
    folder: Folder, proxy: faulty.Proxy, quick: pytest.MonkeyPatch
) -> None:
    quick.setattr(backend, "PART_BYTES", PART)
    proxy.cut_uploads = 3
    assert folder.write("large", LARGE).bytes == len(LARGE)
    proxy.cut_uploads = 1
    with pytest.raises(StorageError):
        Folder(folder.url).write("never", LARGE)
    with pytest.raises(StorageError):
        Folder(folder.url).write("large", LARGE[::-1])
    proxy.calm()
    assert proxy.injected["cut upload"] > 2
    assert folder.read("large") == LARGE and folder.list() == ["here", "large"]
    assert unfinished(proxy) == []


def test_the_end_of_an_upload_that_was_carried_out_and_never_answered(
    folder: Folder, proxy: faulty.Proxy, quick: pytest.MonkeyPatch
) -> None:
    quick.setattr(backend, "PART_BYTES", PART)
    quick.setattr(backend, "TRIES", 2)  # s3fs asks again to complete it
    proxy.only, proxy.lose_answers = re.compile("^POST"), 3
    for name in ("one", "two", "three"):
        folder.write(name, LARGE)
    proxy.calm()
    assert proxy.injected["lost answer"] == 1
    assert folder.read("three") == LARGE and unfinished(proxy) == []


def test_after_a_failure_a_write_is_looked_at(folder: Folder, proxy: faulty.Proxy, quick: pytest.MonkeyPatch) -> None:
    sizes = iter([3, len(DATA)])
    quick.setattr(backend, "info", lambda url: {"size": next(sizes)})
    proxy.busy = 2
    folder.write("one", DATA)
    folder.write("two", DATA)  # refused; then shown with 3 bytes, so written once more
    assert next(sizes, None) is None


# Listings that are behind.


def test_files_are_found_though_the_listing_is_behind(folder: Folder, proxy: faulty.Proxy) -> None:
    folder.write("gone", b"")
    folder.remove("gone")
    folder.write("new", b"")
    proxy.stale_s = 600.0
    assert folder.list() == ["gone"]
    assert folder.present(["here", "new", "absent"]) == {"here", "new"}
    assert folder.exists("new") and not folder.exists("gone") and folder.read("here") == DATA
    assert proxy.injected["stale listing"] > 0
    proxy.calm()
    assert folder.list() == ["here", "new"] and folder.present([]) == set()


def test_what_others_wrote_is_seen_at_once(folder: Folder, proxy: faulty.Proxy) -> None:
    """No listing of s3fs's own is kept: it would hide new files and lend old sizes to the reader of a new one."""
    assert folder.list() == ["here"]
    key = folder.url.removeprefix("s3://patience/")
    proxy.direct.put_object(Bucket="patience", Key=f"{key}/other", Body=b"1")
    assert folder.read("other") == b"1"
    proxy.direct.put_object(Bucket="patience", Key=f"{key}/other", Body=b"22")
    assert folder.read("other") == b"22" and folder.size("other") == 2


def test_a_storage_that_is_away_is_no_damage(folder: Folder, proxy: faulty.Proxy, quick: pytest.MonkeyPatch) -> None:
    toy = toys.build(folder.url, shards=(3, 2), side=8)
    proxy.busy = 3
    assert verify(folder) == [] and proxy.injected["busy"] > 3
    quick.setattr("raydc.store.verify.READING_S", 0.2)
    proxy.calm()
    proxy.only, proxy.busy = re.compile("images/"), 1
    with pytest.raises(StorageError, match=r"train-000000\.tar.*busy or failing"):
        verify(toy.folder)


# Others' file systems.


def test_a_file_system_for_others_asks_again_by_itself(folder: Folder, proxy: faulty.Proxy) -> None:
    fs, path = folder.filesystem()
    assert (type(fs), path) == (s3fs.S3FileSystem, folder.url.removeprefix("s3://"))
    timer = proxy.outage(1.5)
    fs.pipe_file(f"{path}/theirs", DATA)
    timer.join()
    assert folder.read("theirs") == DATA
    local, where = Folder("/somewhere", 60.0).filesystem()
    assert where == "/somewhere" and local.protocol[0] == "file"


# Disks and network file systems.


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_network_file_system_that_stumbles(number: int, tmp_path: Path, quick: pytest.MonkeyPatch) -> None:
    left, replace = [3], os.replace

    def stumble(*arguments: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(number, os.strerror(number))
        replace(*arguments)

    quick.setattr(os, "replace", stumble)
    Folder(tmp_path, 60.0).write("x", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["x"] and Folder(tmp_path).read("x") == b"new"
    left[0] = 1
    with pytest.raises(StorageError):
        Folder(tmp_path).write("x", b"newer")
    assert [p.name for p in tmp_path.iterdir()] == ["x"] and Folder(tmp_path).read("x") == b"new"


def test_a_full_disk_is_not_waited_for(tmp_path: Path, quick: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    quick.setattr(os, "fsync", full)
    assert "no space left" in assert_fails_within(5, lambda: Folder(tmp_path, 60.0).write("x", b""), DataError)


# The parts.


class Answer(Exception):
    """As the clients of Google and Azure raise it."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(str(fields))
        self.__dict__.update(fields)


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


def test_which_failures_may_pass() -> None:
    for error in (
        ConnectionResetError(), TimeoutError(), BrokenPipeError(errno.EPIPE, "pipe"), OSError(errno.ESTALE, "stale"),
        Answer(code=503), Answer(status_code=500), Answer(status=429),
        caused(FileNotFoundError(), Answer(response={"Error": {"Code": "NoSuchUpload"}})),
        caused(OSError(errno.EINVAL, "?"), Answer(response={"Error": {"Code": "IncompleteBody"}})),
    ):  # fmt: skip
        assert transient(error), error
    for error in (
        FileNotFoundError(), PermissionError(errno.EACCES, "no"), OSError(errno.ENOSPC, "full"), ImportError("gcsfs"),
        ValueError("url"), Answer(code=404), Answer(status_code=403), Answer(code="Fine"),
        caused(OSError(errno.EIO, "?"), Answer(response={"Error": {"Code": "InvalidRange"}})),
    ):  # fmt: skip
        assert not transient(error), error


def test_pauses_grow_to_a_bound_and_differ_between_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = [patience.pause("s3://b/x", n) for n in range(1, 40)]
    assert pauses == [patience.pause("s3://b/x", n) for n in range(1, 40)]
    for n, found in enumerate(pauses):
        bound = min(patience.LONGEST_S, patience.FIRST_S * 2**n)
        assert bound / 2 <= found <= bound
    mine = patience.pause("s3://b/x", 5)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert patience.pause("s3://b/x", 5) != mine != patience.pause("s3://b/y", 5)


def test_patience_is_inherited_and_no_part_of_what_a_folder_is() -> None:
    folder = Folder("s3://b/x", 7.0)
    assert folder.child("y").patience == 7.0 and folder.hasty().patience == 0.0
    assert folder == Folder("s3://b/x") and hash(folder) == hash(folder.hasty())


def test_credentials_in_a_text_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "TOPSECRET123")
    for text in ("ftp://me:hunter2@host/x", "https://h/x?X-Amz-Signature=1", "https://h/x?a=1&sig=2", "TOPSECRET123"):
        assert secret(text), text
    for text in ("abfs://box@account.dfs.core.windows.net/x", "https://h/x?download=true", "s3://b/key=1/x", "10:3"):
        assert not secret(text), text
