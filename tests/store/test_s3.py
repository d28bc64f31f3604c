"""Object storage against an in-process S3 server; credentials come from the environment, as on a cluster."""

from __future__ import annotations

import contextlib
import pickle
import socket
import time
from collections.abc import Iterator

import boto3
import pytest
import toys
from moto.server import ThreadedMotoServer

import raydc
from raydc.errors import DataError
from raydc.store import manifest as m
from raydc.store.folder import Folder
from raydc.store.verify import verify

s3fs = pytest.importorskip("s3fs")
SECRET = "s3cr3t-of-the-test"

# botocore and moto call what newer Pythons deprecate; nothing of it is ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    s3fs.S3FileSystem.clear_instance_cache()
    yield monkeypatch
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(environment: pytest.MonkeyPatch, endpoint: str, request: pytest.FixtureRequest) -> str:
    environment.setenv("AWS_ENDPOINT_URL", endpoint)
    name = request.node.name.replace("_", "-")[:50]
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


def test_a_data_set_lives_in_a_bucket(bucket: str) -> None:
    toy = toys.build(f"{bucket}/sets/toy", shards=(5, 4), side=8)
    assert verify(toy.folder) == []
    data = raydc.open(f"{bucket}/sets/toy")
    assert sum(len(b.labels) for b in data.batches(0, 4)) == len(data) == 9
    x, _, _, logits = next(data.loader(0, 9))
    assert x.shape == (9, 3, 8, 8) and logits.shape == (9, 3)


def test_files_in_a_bucket(bucket: str) -> None:
    folder = pickle.loads(pickle.dumps(Folder(f"{bucket}/run/")))  # noqa: S301
    assert folder.list() == [] and not folder.exists("a")
    folder.write("parts/a.bin", b"0123456789")
    folder.write("parts/_tmp.bin", b"")
    assert folder.list("parts/") == ["parts/a.bin"] and folder.list() == []
    assert folder.exists("parts/a.bin") and folder.size("parts/a.bin") == 10
    assert folder.ranges("parts/a.bin", [(2, 3), (9, 1)]) == [b"234", b"9"]
    with pytest.raises(DataError, match="truncated"):
        folder.ranges("parts/a.bin", [(8, 5)])
    with folder.open("parts/a.bin") as file:
        file.seek(8)
        assert file.read() == b"89"
    boto3.client("s3").put_object(Bucket=bucket.removeprefix("s3://"), Key="run/parts/b.bin", Body=b"x")
    assert folder.list("parts/") == ["parts/a.bin", "parts/b.bin"], "what another machine wrote is seen at once"
    folder.remove("parts/a.bin")
    folder.remove("parts/a.bin")
    assert folder.list("parts/") == ["parts/b.bin"]


def test_missing_file_and_missing_bucket_are_told(bucket: str) -> None:
    with pytest.raises(DataError, match=r"cannot read s3://.*/nothing: it does not exist"):
        Folder(bucket).read("nothing")
    with pytest.raises(DataError, match="cannot write s3://no-such-bucket/x"):
        Folder("s3://no-such-bucket").write("x", b"")
    with pytest.raises(DataError, match="is not a data set"):
        m.read(Folder("s3://no-such-bucket"))


def test_an_unreachable_bucket_fails_within_seconds(environment: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    folder = Folder("s3://bucket/run")
    for action in (folder.list, lambda: folder.read("x"), lambda: folder.exists("x"), lambda: folder.write("x", b"1")):
        start = time.monotonic()
        with pytest.raises(DataError, match="s3://bucket/run.*could not be reached.*endpoint") as caught:
            action()
        assert time.monotonic() - start < 8
        assert SECRET not in str(caught.value)


def test_an_endpoint_that_drops_packets_fails_within_seconds(environment: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(3):  # fill the queue of connections, so that the next one gets no answer
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(DataError, match="could not be reached"):
            Folder("s3://bucket/run").read("x")
        assert time.monotonic() - start < 20


def test_missing_credentials_are_told(environment: pytest.MonkeyPatch, endpoint: str) -> None:
    environment.setenv("AWS_ENDPOINT_URL", endpoint)
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    start = time.monotonic()
    with pytest.raises(DataError, match="no credentials were found"):
        Folder("s3://bucket/run").write("x", b"1")
    assert time.monotonic() - start < 8
