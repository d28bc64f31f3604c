"""An S3 server on this machine, and the environment in which this process and those it starts find it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer

ID, SECRET = "AKIA-of-the-test", "s3cr3t-of-the-test"


@contextmanager
def at(endpoint: str) -> Iterator[None]:
    """Take S3 to be at an address. fsspec keeps connections for the life of a process: none from or to another test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", ID)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        yield
    s3fs.S3FileSystem.clear_instance_cache()


@contextmanager
def server() -> Iterator[tuple[tuple[str, int], Any]]:
    """A server without a bucket: its host and port, and a client that speaks to it directly."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    try:
        yield (
            (host, port),
            boto3.client(
                "s3",
                endpoint_url=f"http://{host}:{port}",
                aws_access_key_id=ID,
                aws_secret_access_key=SECRET,
                region_name="us-east-1",
            ),
        )
    finally:
        moto.stop()


@contextmanager
def bucket(name: str) -> Iterator[str]:
    """A server with one empty bucket; its URL."""
    with server() as ((host, port), client), at(f"http://{host}:{port}"):
        client.create_bucket(Bucket=name)
        yield f"s3://{name}"
