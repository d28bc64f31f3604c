from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

import raydc
from raydc.errors import DataError
from raydc.keys import Key
from raydc.store import manifest as m
from raydc.store.folder import Folder
from raydc.store.verify import inspect, verify


@pytest.fixture
def toy(tmp_path: Path) -> toys.Toy:
    return toys.build(str(tmp_path / "set"), shards=(5, 4), side=8)


def edit(folder: Folder, **changes: Any) -> None:
    folder.write_json("raydc.json", {**folder.read_json("raydc.json"), **changes})


def edit_labels(folder: Folder, **changes: Any) -> None:
    labels = folder.read_json("raydc.json")["label_sets"]["soft"]
    edit(folder, label_sets={"soft": {**labels, **changes}})


def test_a_fresh_data_set_has_no_problems_and_says_what_it_is(toy: toys.Toy) -> None:
    assert verify(toy.folder) == []
    found = inspect(toy.folder)
    assert (found["images"], found["classes"], found["image_size"], found["revision"]) == (9, 3, [8, 8], 2)
    assert found["label_sets"]["soft"]["views"] == 3 and found["label_sets"]["soft"]["teachers"]
    assert found["label_bytes"] == sum(p.stat().st_size for p in Path(toy.folder.url).glob("labels/*/*"))
    json.dumps(found)


@pytest.mark.parametrize("seed", range(3))
def test_one_flipped_byte_anywhere_is_found_and_its_file_named(seed: int, toy: toys.Toy) -> None:
    """In every file, the card, timm's index, class list and provenance too: first and last byte, and places drawn."""
    root = Path(toy.folder.url)
    files = {str(p.relative_to(root)): p for p in sorted(root.rglob("*")) if p.is_file()}
    assert {"raydc.json", "_info.json", "README.md", "classes.txt", "provenance/run.yaml"} <= files.keys()
    assert len(files) == 9
    for name, path in files.items():
        data, key = path.read_bytes(), Key(("flip", seed, name))
        drawn = key.child("place").integers(0, len(data), 6).tolist()
        for offset in {0, *drawn, len(data) - 1}:
            bit = 1 << int(key.child("bit", offset).integers(0, 8, 1)[0])
            path.write_bytes(data[:offset] + bytes([data[offset] ^ bit]) + data[offset + 1 :])
            found = verify(toy.folder)
            assert any(name in problem for problem in found), f"{name} byte {offset} of {len(data)}: {found}"
        for other in (data[:-1], data + b"\n"):
            path.write_bytes(other)
            assert any(name in problem for problem in verify(toy.folder)), f"{name} with {len(other)} bytes"
        path.write_bytes(data)
    assert verify(toy.folder) == []


def test_every_byte_of_the_manifest_counts(toy: toys.Toy) -> None:
    data, path = toy.folder.read("raydc.json"), Path(toy.folder.url) / "raydc.json"
    for offset in range(0, len(data), 7):
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        assert verify(toy.folder), f"byte {offset}: {data[offset - 20 : offset + 20]!r}"


def test_missing_cut_and_reordered_files_are_named(toy: toys.Toy) -> None:
    shard = Path(toy.folder.url) / "images" / "train-000001.tar"
    data = shard.read_bytes()
    shard.write_bytes(data[:-512])
    assert any("train-000001.tar has" in p for p in verify(toy.folder))
    shard.unlink()
    assert any("train-000001.tar" in p and "does not exist" in p for p in verify(toy.folder))


def test_a_folder_without_manifest_is_not_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a data set: it has no raydc.json"):
        raydc.open(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "raydc-dataset/2"}, "format 'raydc-dataset/2', this raydc reads up to 'raydc-dataset/1'. Update"),
        ({"format": "other/1"}, "no known format"),
        ({"format": None}, "no known format"),
        ({"images": {"count": 1}}, "images.size: Field required"),
        ({"documents": [{"path": "../x", "bytes": 1, "sha256": "0" * 64}]}, r"without '\.\.'"),
        ({"documents": [{"path": "/etc/passwd", "bytes": 1, "sha256": "0" * 64}]}, "must be relative"),
        ({"documents": [{"path": "s3://b/x", "bytes": 1, "sha256": "0" * 64}]}, "must be relative"),
    ],
)
def test_manifests_that_cannot_be_read_are_refused(toy: toys.Toy, changes: dict[str, Any], message: str) -> None:
    edit(toy.folder, **changes)
    with pytest.raises(DataError, match=message):
        m.read(toy.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codec": {"use": "top5", "version": 1}}, "uses codec 'top5' version 1; this raydc knows .*int8 version 1"),
        ({"codec": {"use": "int8", "version": 2}}, "uses codec 'int8' version 2"),
        ({"aug": {"version": 2, "columns": []}}, "view records version 2"),
        ({"row_bytes": 9}, "rows of 9 bytes, expected 7"),
        ({"row_dtype": [["q", "nonsense"]]}, "unknown to NumPy"),
        ({"views": 4}, "3 of 4 views of images/train-000000.tar"),
    ],
)
def test_label_sets_that_cannot_be_replayed_are_refused_but_images_stay_readable(
    toy: toys.Toy, changes: dict[str, Any], message: str
) -> None:
    edit_labels(toy.folder, **changes)
    with pytest.raises(DataError, match=message):
        raydc.open(toy.folder.url)
    assert m.read(toy.folder).images.count == 9
    assert verify(toy.folder)


def test_an_unknown_label_set_is_met_with_the_nearest_name(toy: toys.Toy) -> None:
    with pytest.raises(DataError, match=r"no label set 'sofft', did you mean 'soft'\?"):
        raydc.open(toy.folder.url, "sofft")


def test_labels_of_another_order_are_refused(toy: toys.Toy, tmp_path: Path) -> None:
    manifest = m.read(toy.folder)
    labels = manifest.label_sets["soft"]
    files = [f.model_copy(update={"keys_sha256": "0" * 64}) for f in labels.files]
    with pytest.raises(DataError, match="labels other images, or another order"):
        m.add_label_set(toy.folder, "more", labels.model_copy(update={"files": files}))


def test_keys_of_a_later_version_are_ignored_and_kept(toy: toys.Toy) -> None:
    edit(toy.folder, colour="blue")
    manifest = m.read(toy.folder)
    records, logits = toys.draw_labels(manifest, toy.shards, 1)
    m.add_label_set(toy.folder, "more", toys.write_labels(toy.folder, manifest, records, logits, "more", "fp16"))
    assert toy.folder.read_json("raydc.json")["colour"] == "blue"
    assert verify(toy.folder) == []
    assert np.abs(raydc.open(toy.folder.url, "more")[0][3] - logits[0, 0]).max() < 0.01  # type: ignore[operator]


def test_a_swapped_class_list_is_refused_at_open(toy: toys.Toy) -> None:
    toy.folder.write("classes.txt", "\n".join(toys.CLASSES[::-1]).encode())
    with pytest.raises(DataError, match=r"classes\.txt is not the class list of the manifest"):
        raydc.open(toy.folder.url)


@pytest.mark.parametrize("classes", ["a b", "a b b", "a b c\nd", "a b ", "a b c\r"])
def test_class_lists_that_would_not_survive_a_text_file_are_refused(tmp_path: Path, classes: str) -> None:
    manifest = toys.write_images(Folder(tmp_path), toys.pixels(3, 8), (3,))
    with pytest.raises(DataError, match="class name"):
        m.publish(Folder(tmp_path), manifest, classes.split(" "), "")
