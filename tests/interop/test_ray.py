"""The published shards through Ray Data's ``read_webdataset``, for looking."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import toys

ray = pytest.importorskip("ray")
# Ray's own: copying a DataContext warns of its deprecated fields, and stopping leaves sockets to the collector.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}")
    for kind in ("DeprecationWarning", "ResourceWarning", "FutureWarning", "UserWarning")
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="ry", dir="/tmp")  # a socket path over 107 bytes is refused
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(
            address="local", num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False,
            log_to_driver=False, logging_level="ERROR",
        )  # fmt: skip
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def test_images(toy: toys.Toy, root: Path, cluster: None) -> None:
    rows = ray.data.read_webdataset(str(root / "images")).take_all()
    rows.sort(key=lambda r: r["__key__"])
    assert len(rows) == 23
    for i, row in enumerate(rows):
        assert np.array_equal(row["png"], toy.images[i]) and row["cls"] == toy.labels[i]
        assert row["json"]["synset"] == toys.CLASSES[toy.labels[i]].split()[0]


def test_labels(toy: toys.Toy, root: Path, cluster: None) -> None:
    rows = ray.data.read_webdataset(str(root / "labels" / "soft" / "train-000000-v0000-0002.tar")).take_all()
    assert [r["__key__"] for r in rows] == ["v0000", "v0001", "v0002"]
    assert all(np.array_equal(r["aug.npy"], toy.records[v, :8]) for v, r in enumerate(rows))
