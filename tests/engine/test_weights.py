"""Weights and statistics on a node: fetched once, mapped by all, and never trusted without their digest."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import safetensors.torch
import torch

from raydc.engine import weights
from raydc.engine.run import Run
from raydc.engine.weights import local_copy, teacher, tensors
from raydc.errors import ClusterError, DataError
from raydc.store.folder import Folder
from tests.engine.small import small

NAME = "statistics.safetensors"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node with an empty disk; where it keeps copies."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    return tmp_path / "node" / f"raydc-{os.getuid()}" / "weights"


@pytest.fixture
def far() -> Folder:
    """A folder on no local disk."""
    return Folder(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that are read from a storage, one for each request."""
    asked: list[str] = []
    ranges: Callable[..., list[bytes]] = Folder.ranges

    def counted(folder: Folder, name: str, spans: list[tuple[int, int]]) -> list[bytes]:
        asked.append(name)
        return ranges(folder, name, spans)

    monkeypatch.setattr(Folder, "ranges", counted)
    return asked


def moments(seed: int = 0, rows: int = 40) -> bytes:
    generator = torch.Generator().manual_seed(seed)
    return safetensors.torch.save({"mean": torch.randn(rows, 50, generator=generator)})


def test_workers_that_start_together_fetch_once(far: Folder, fetches: list[str], node: Path) -> None:
    data = moments()
    digest = far.write(NAME, data).sha256
    start = threading.Barrier(4)

    def worker(_: int) -> bytes:
        start.wait()
        return local_copy(far, NAME, digest).read_bytes()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(worker, range(4))) == [data] * 4
    assert fetches == [NAME]
    assert [p.name for p in node.iterdir() if p.suffix != ".lock"] == [digest], "nothing else is left"


def test_a_file_larger_than_a_piece_is_fetched_whole(
    far: Folder, fetches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "PIECE_BYTES", 1000)
    data = moments()
    assert local_copy(far, NAME, far.write(NAME, data).sha256).read_bytes() == data
    assert len(fetches) == -(-len(data) // 1000)


@pytest.mark.parametrize("damage", [b"", b"half of it", moments(seed=1)], ids=["empty", "cut", "changed"])
def test_a_damaged_copy_is_fetched_again(damage: bytes, far: Folder, fetches: list[str]) -> None:
    digest = far.write(NAME, moments()).sha256
    local_copy(far, NAME, digest).write_bytes(damage)
    assert local_copy(far, NAME, digest).read_bytes() == moments()
    assert len(fetches) == 2


def test_what_a_killed_worker_has_left_is_overwritten(far: Folder, node: Path) -> None:
    digest = far.write(NAME, moments()).sha256
    node.mkdir(parents=True)
    part = node / f"{digest}.part"
    part.write_bytes(bytes(100_000))
    assert local_copy(far, NAME, digest).read_bytes() == moments()
    assert not part.exists()


def test_a_file_that_is_not_the_recorded_one_is_refused_and_not_kept(far: Folder, node: Path) -> None:
    found, wanted = far.write(NAME, moments()).sha256, hashlib.sha256(b"another").hexdigest()
    with pytest.raises(DataError, match=rf"{NAME} has SHA-256 {found[:12]}\.\.\., expected {wanted[:12]}"):
        tensors(far, NAME, wanted)
    assert [p.suffix for p in node.iterdir()] == [".lock"]
    near = Folder(node.parent / "run")
    near.write(NAME, moments())
    with pytest.raises(DataError, match="was changed or cut"):
        tensors(near, NAME, wanted)


def test_what_cannot_be_fetched_or_kept_says_why(far: Folder, node: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        tensors(far, NAME, "0" * 64)
    digest = far.write(NAME, b"no tensors").sha256
    with pytest.raises(DataError, match="is not a safetensors file"):
        tensors(far, NAME, digest)
    node.parent.rename(node.parent.with_name("moved"))
    node.parent.write_bytes(b"a file where the cache should be")
    with pytest.raises(ClusterError, match=f"this node keeps no copy of {far.url}/{NAME} at"):
        tensors(far, NAME, digest)


def test_the_longest_unused_copies_make_room(far: Folder, node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(moments())
    digests = [far.write(f"{n}.safetensors", moments(n)).sha256 for n in range(4)]
    monkeypatch.setattr(weights, "CACHE_BYTES", 3 * size)
    for n in (0, 1, 2):
        path = local_copy(far, f"{n}.safetensors", digests[n])
        os.utime(path, (n, n))
    mapped = tensors(far, "0.safetensors", digests[0])["mean"]  # used again: now 1 is the oldest
    local_copy(far, "3.safetensors", digests[3])
    assert {p.name for p in node.iterdir() if p.suffix != ".lock"} == {digests[n] for n in (0, 2, 3)}
    monkeypatch.setattr(weights, "CACHE_BYTES", 1)
    assert local_copy(far, "1.safetensors", digests[1]).exists(), "the one that is asked for is never refused its room"
    assert torch.equal(mapped, safetensors.torch.load(moments(0))["mean"]), "a mapped copy lives on when it is removed"


@pytest.mark.parametrize("place", ["near", "far"])
def test_a_write_to_mapped_tensors_stays_with_its_writer(place: str, far: Folder, tmp_path: Path) -> None:
    folder = far if place == "far" else Folder(tmp_path / "run")
    digest = folder.write(NAME, moments()).sha256
    mine, other = (tensors(folder, NAME, digest)["mean"] for _ in range(2))
    mine.zero_()
    expected = safetensors.torch.load(moments())["mean"]
    assert torch.equal(other, expected)
    assert torch.equal(tensors(folder, NAME, digest)["mean"], expected)


def test_rows_are_read_without_the_rest(tmp_path: Path) -> None:
    rows, width = 16_000, 1024
    folder = Folder(tmp_path / "run")
    digest = folder.write(NAME, safetensors.torch.save({"mean": torch.ones(rows, width)})).sha256
    tensors(folder, NAME, digest)  # what the first call loads of torch is not what is measured
    process = psutil.Process()
    before = process.memory_info().rss
    mean = tensors(folder, NAME, digest)["mean"]
    assert mean[800:900].sum() == 100 * width
    taken = process.memory_info().rss - before
    assert taken < rows * width * 4 / 4, f"100 of {rows} rows took {taken} bytes"


def test_a_teacher_of_a_run_elsewhere_answers_as_it_does_here(tmp_path: Path) -> None:
    here = small(tmp_path / "run").run
    elsewhere = Run(here.config, f"local://{tmp_path / 'run'}")
    name = here.config.squeeze.teachers[0].name
    size = here.config.data.image_size
    pictures = torch.rand(2, 3, size, size)
    answers = [teacher(run, name, CPU).logits(pictures) for run in (here, elsewhere)]
    assert torch.equal(*answers)
    assert local_copy(elsewhere.teachers(), f"{name}.safetensors", _digest(elsewhere, name)).parent.name == "weights"


def _digest(run: Run, name: str) -> str:
    return weights.read_record(run.teachers(), name).sha256
