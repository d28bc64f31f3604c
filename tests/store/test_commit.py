"""A kill between any two writes leaves the old revision or the new one, and running again finishes the work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toys

import raydc
from raydc.errors import DataError
from raydc.store import backend
from raydc.store import manifest as m
from raydc.store.folder import Folder
from raydc.store.verify import verify


class Killed(BaseException):
    """Stands for SIGKILL: nothing below catches it."""


def make(folder: Folder) -> None:
    images = toys.pixels(9, 8)
    m.publish(folder, toys.write_images(folder, images, (5, 4)), toys.CLASSES, "# one\n", {"provenance/a.json": b"{}"})


def relabel(folder: Folder) -> None:
    manifest = m.read(folder)
    records, logits = toys.draw_labels(manifest, (5, 4), 2)
    m.add_label_set(folder, "soft", toys.write_labels(folder, manifest, records, logits))


def both(folder: Folder) -> None:
    make(folder)
    relabel(folder)


def state(path: Path) -> tuple[int, list[str]] | None:
    """Revision and label sets as a reader sees them after reading everything, None where there is no data set."""
    try:
        data = raydc.open(str(path))
    except DataError as error:
        assert "is not a data set" in str(error)
        return None
    assert sum(len(b.images) for b in data.batches(0, 4)) == len(data)
    return data.manifest.revision, list(data.manifest.label_sets)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("prepare", "work", "old", "new"),
    [
        (None, make, None, (1, [])),
        (make, relabel, (1, []), (2, ["soft"])),
        (both, make, (2, ["soft"]), (3, ["soft"])),
    ],
    ids=["publish", "add labels", "publish again"],
)
def test_kill_at_every_write(
    prepare: Callable[[Folder], None] | None, work: Callable[[Folder], None], old: object, new: object, moment: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    start = tmp_path / "start"
    start.mkdir()
    if prepare:
        prepare(Folder(start))
    write, calls = backend.write_local, 0
    for n in range(1, 100):
        path = tmp_path / f"kill-{n}"
        shutil.copytree(start, path)
        calls = 0

        def killing(target: Path, data: bytes, sha256: str, n: int = n) -> None:
            nonlocal calls
            calls += 1
            if calls == n and moment == "before":
                target.parent.mkdir(parents=True, exist_ok=True)
                (target.parent / f".{target.name}.torn.tmp").write_bytes(data[: len(data) // 2])
                raise Killed
            write(target, data, sha256)
            if calls == n:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(backend, "write_local", killing)
            try:
                work(Folder(path))
                done = True
            except Killed:
                done = False
        found = state(path)
        assert found in ([new] if done else [old, new])
        if done:
            break
        work(Folder(path))
        final = state(path)
        assert verify(Folder(path)) == [] and final is not None and final[1] == new[1]  # type: ignore[index]
    assert n > 2


def test_nothing_is_published_without_its_shards(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    manifest = toys.write_images(folder, toys.pixels(4, 8), (4,))
    folder.remove("images/train-000000.tar")
    with pytest.raises(DataError, match=r"train-000000\.tar.*does not exist"):
        m.publish(folder, manifest, toys.CLASSES, "")
    folder.write("images/train-000000.tar", b"short")
    with pytest.raises(DataError, match="is 5 bytes, written were"):
        m.publish(folder, manifest, toys.CLASSES, "")
    assert not folder.exists("raydc.json")


def test_a_folder_never_changes_its_images_nor_a_label_set_its_labels(tmp_path: Path) -> None:
    toy = toys.build(str(tmp_path / "a"), shards=(5,))
    other = toys.write_images(Folder(tmp_path / "b"), toys.pixels(4, 8), (4,))
    with pytest.raises(DataError, match="holds another data set"):
        m.publish(toy.folder, other, toys.CLASSES, "")
    manifest = m.read(toy.folder)
    same = manifest.label_sets["soft"]
    assert m.add_label_set(toy.folder, "soft", same).revision == manifest.revision
    with pytest.raises(DataError, match="'soft' exists and differs"):
        m.add_label_set(toy.folder, "soft", same.model_copy(update={"decoder": "another"}))


def test_running_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        toys.build(str(tmp_path / name))
    files = {name: {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")
                    if p.is_file()} for name in "ab"}  # fmt: skip
    assert files["a"] == files["b"] and len(files["a"]) == 9


def test_identity_is_that_of_the_images_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    manifest = toys.write_images(folder, toys.pixels(4, 8), (4,))
    identity = m.dataset_id(manifest, toys.CLASSES)
    later = m.publish(folder, manifest.model_copy(update={"created": "2030-01-01T00:00:00Z"}), toys.CLASSES, "x")
    records, logits = toys.draw_labels(later, (4,), 1)
    labelled = m.add_label_set(folder, "soft", toys.write_labels(folder, later, records, logits))
    assert m.dataset_id(labelled, toys.CLASSES) == labelled.dataset_id == identity
    assert m.dataset_id(manifest, toys.CLASSES[::-1]) != identity
    brighter = toys.write_images(Folder(tmp_path / "b"), np.minimum(toys.pixels(4, 8) + 1, 255).astype(np.uint8), (4,))
    assert m.dataset_id(brighter, toys.CLASSES) != identity
