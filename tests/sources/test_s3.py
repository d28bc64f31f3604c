"""The same data sets in an S3 bucket (a local server speaks its protocol)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
import s3fs
import toys

from raydc.errors import DataError, StorageError
from raydc.sources.classes import class_list
from raydc.sources.condensed import CondensedDataset
from raydc.store import backend, patience
from tests import faulty, s3

from .make import picture, samples, shard, source, tree

COUNTS = {"ant": 3, "bee": 2, "cow": 4}


@pytest.fixture(autouse=True, scope="module")
def fresh() -> Iterator[None]:
    """fsspec keeps connections for the life of a process: none from or to another test's server."""
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bucket ``data`` with class folders and shards; yields the local folder with the same content."""
    here = tmp_path_factory.mktemp("data")
    tree(here / "folders", COUNTS)
    for s in range(3):
        shard(here / f"shards/x-{s:06d}.tar", samples([0, 1, 2, s], first=10 * s))
    (here / "classes.txt").write_text("cow\nbee\nant\n")
    (here / "folders/bee/notes.txt").write_text("")
    with s3.bucket("data"):
        client = boto3.client("s3")
        for path in here.rglob("*"):
            if path.is_file():
                client.upload_fileobj(io.BytesIO(path.read_bytes()), "data", str(path.relative_to(here)))
        client.put_object(Bucket="data", Key="folders/")  # the console leaves such markers
        yield here


def test_class_folders_are_the_same_as_on_disk(bucket: Path) -> None:
    remote, local = source("folders", "s3://data/folders"), source("folders", bucket / "folders")
    assert remote.classes == ("ant", "bee", "cow") and remote.fingerprint() == local.fingerprint()
    assert remote.train.files[0] == "s3://data/folders/ant/im000.png"
    rows = range(len(remote.train))
    assert np.array_equal(remote.images(remote.train, rows), local.images(local.train, rows))
    some = source("folders", "s3://data/folders/", classes="s3://data/classes.txt", subset=["cow", "ant"])
    assert some.classes == ("cow", "ant") and (some.train.counts(2) + some.validation.counts(2)).tolist() == [4, 3]


@pytest.mark.parametrize("url", ["s3://data/shards/x-{000000..000002}.tar", "s3://data/shards", "s3://data/shards/"])
def test_shards_are_the_same_as_on_disk(bucket: Path, url: str) -> None:
    remote, local = source("webdataset", url), source("webdataset", bucket / "shards")
    assert remote.fingerprint() == local.fingerprint() and len(remote.train) + len(remote.validation) == 12
    assert [remote.raw(remote.train, i) for i in range(3)] == [local.raw(local.train, i) for i in range(3)]


@pytest.mark.usefixtures("bucket")
def test_what_is_missing_or_broken_in_a_bucket_is_named() -> None:
    for url in ("s3://nowhere/folders", "s3://data/nothing"):
        for use in ("folders", "webdataset"):
            with pytest.raises(DataError, match=f"{url}.*does not exist"):
                source(use, url)
    with pytest.raises(DataError, match=r"x-000003.tar.*does not exist"):
        source("webdataset", "s3://data/shards/x-{000002..000003}.tar")
    with pytest.raises(DataError, match="has no class folders"):
        source("folders", "s3://data/shards")
    with pytest.raises(DataError, match="does not exist"):
        class_list("s3://data/none.txt")
    client = boto3.client("s3")
    client.put_object(Bucket="data", Key="bad/x.tar", Body=b"".join([b"junk"] * 400))
    with pytest.raises(DataError, match=r"s3://data/bad/x.tar is not a whole"):
        source("webdataset", "s3://data/bad")
    client.put_object(Bucket="data", Key="broken/a/x.png", Body=picture(0)[:30])
    client.put_object(Bucket="data", Key="broken/b/x.png", Body=picture(1))
    data = source("folders", "s3://data/broken", validation="s3://data/broken")
    with pytest.raises(DataError, match="s3://data/broken/a/x.png: not a readable"):
        data.image(data.train, 0)


def test_a_store_that_cannot_be_reached_is_named_without_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    s3fs.S3FileSystem.clear_instance_cache()  # a kept connection would go to the server above
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASECRETKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    with pytest.raises(DataError, match="cannot list s3://elsewhere/x: it could not be reached") as told:
        source("folders", "s3://elsewhere/x")
    assert "hunter2" not in str(told.value)


def test_a_password_in_a_url_is_never_shown() -> None:
    for use in ("folders", "webdataset"):
        with pytest.raises(DataError) as told:
            source(use, "ftp://me:hunter2@127.0.0.1:9/x")
        assert "hunter2" not in str(told.value) and "127.0.0.1" in str(told.value)


def test_missing_credentials_are_what_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    s3fs.S3FileSystem.clear_instance_cache()
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name, value in (("SHARED_CREDENTIALS_FILE", "/dev/null"), ("CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="s3://elsewhere/x: no credentials were found"):
        source("folders", "s3://elsewhere/x")


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[faulty.Proxy]:
    """A bucket ``spoiled`` behind a proxy, met without the retries of the libraries."""
    brief = {"connect_timeout": 1, "read_timeout": 5, "retries": {"total_max_attempts": 1}}
    monkeypatch.setattr(backend, "_S3_OPTIONS", {"config_kwargs": brief})
    monkeypatch.setattr(backend, "TRIES", 1)
    monkeypatch.setattr(patience, "FIRST_S", 0.01)
    monkeypatch.setattr(patience, "LONGEST_S", 0.05)
    with faulty.bucket("spoiled") as (_, proxy):
        yield proxy


def test_a_store_that_stumbles_once_it_was_reached_gives_the_same_images(spoiled: faulty.Proxy, tmp_path: Path) -> None:
    tree(tmp_path / "folders", {f"class{n}": 3 for n in range(8)})
    for s in range(4):
        shard(tmp_path / f"shards/x-{s}.tar", samples([0, 1, 2, s % 3], first=10 * s))
    for path in tmp_path.rglob("*.*"):
        spoiled.direct.put_object(Bucket="spoiled", Key=str(path.relative_to(tmp_path)), Body=path.read_bytes())
    for use in ("folders", "webdataset"):
        name = "folders" if use == "folders" else "shards"
        local = source(use, tmp_path / name)
        spoiled.busy, spoiled.cut_downloads = 3, 4  # neither meets the first request: opening has no patience
        remote = source(use, f"s3://spoiled/{name}")
        assert remote.fingerprint() == local.fingerprint()
        timer = spoiled.outage(1.0)
        rows = range(len(remote.train))
        assert np.array_equal(remote.images(remote.train, rows), local.images(local.train, rows))
        timer.join()
        spoiled.calm()
    assert spoiled.injected["busy"] > 3 and spoiled.injected["cut download"] > 3 and spoiled.injected["outage"] == 2


def test_a_data_set_of_ours_is_read_on_after_an_outage(spoiled: faulty.Proxy) -> None:
    toy = toys.build("s3://spoiled/toy", shards=(5, 4), side=8)
    data = CondensedDataset(toy.folder.url)
    timer = spoiled.outage(1.0)
    assert sum(len(batch.labels) for batch in data.batches(0, 4)) == 9
    timer.join()
    spoiled.down()
    with pytest.raises(StorageError, match="could not be reached"):
        CondensedDataset(toy.folder.url)
