"""A data set in other forms: bytes as stored, whole or resumable, and never over somebody else's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
import webdataset as wds
from torchvision.datasets import ImageFolder

import raydc
from raydc.config.stages.adopt import AdoptConfig
from raydc.config.stages.data import DataConfig
from raydc.errors import ConfigError, DataError
from raydc.sources.decode import decode
from raydc.sources.given import open_given
from raydc.store import tar
from raydc.store.export import BEGUN, DONE, FORMS, export
from raydc.store.folder import Folder
from raydc.store.verify import verify
from tests import tiny


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> toys.Toy:
    return toys.build(str(tmp_path_factory.mktemp("export") / "set"), shards=(8, 7), codec="jpg")


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def stored(toy: toys.Toy) -> list[bytes]:
    """The images as they lie in the shards, in order."""
    root = Path(toy.folder.url, "images")
    members = [m for path in sorted(root.iterdir()) for m in tar.read(path.read_bytes(), path.name)]
    return [data for name, data in members if name.endswith(".jpg")]


def test_class_folders_have_the_bytes_of_the_shards_and_can_be_judged(toy: toys.Toy, tmp_path: Path) -> None:
    assert export(toy.folder, Folder(tmp_path / "out"), "folders") == 15
    for i, data in enumerate(stored(toy)):
        assert (tmp_path / "out" / toys.CLASSES[i % 3] / f"{i:08d}.jpg").read_bytes() == data
    found = ImageFolder(str(tmp_path / "out"))
    assert tuple(found.classes) == toys.CLASSES and len(found) == 15
    data = DataConfig(use="none", classes=list(toys.CLASSES), image_size=16)
    given = open_given(AdoptConfig(url=str(tmp_path / "out")), data, toys.CLASSES)
    taken = [decode(image, "it") for image in given.take(0, 15).images]
    wanted = [decode(stored(toy)[i], "it") for c in range(3) for i in range(c, 15, 3)]
    assert all(np.array_equal(a, b) for a, b in zip(taken, wanted, strict=True))
    assert given.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its files to the collector
def test_plain_webdataset_with_and_without_labels(toy: toys.Toy, tmp_path: Path) -> None:
    assert export(toy.folder, Folder(tmp_path / "bare"), "webdataset") == 15
    assert not (tmp_path / "bare/labels").exists() and not (tmp_path / "bare/raydc.json").exists()
    samples = list(wds.WebDataset(str(tmp_path / "bare/images/train-{000000..000001}.tar"), shardshuffle=False))
    assert [s["jpg"] for s in samples] == stored(toy)
    export(toy.folder, Folder(tmp_path / "soft"), "webdataset", labels="soft")
    views = list(wds.WebDataset(str(tmp_path / "soft/labels/soft/train-000000-v0000-0002.tar"), shardshuffle=False))
    row = json.loads((tmp_path / "soft/labels/soft.json").read_text())
    assert len(views) == row["views"] == 3 and row["codec"]["use"] == "int8"


def test_hugging_faces_layout_is_the_same_data_set_under_a_licence(toy: toys.Toy, tmp_path: Path) -> None:
    assert export(toy.folder, Folder(tmp_path / "hf"), "huggingface", licence="cc-by-4.0") == 15
    assert verify(Folder(tmp_path / "hf")) == []
    one, other = raydc.open(toy.folder.url), raydc.open(str(tmp_path / "hf"))
    assert one.dataset_id == other.dataset_id and np.array_equal(one[3][3], other[3][3])  # type: ignore[arg-type]
    card = (tmp_path / "hf/README.md").read_text()
    for said in ('license: "cc-by-4.0"', "configs:", one.dataset_id, "| `soft` | 3 | int8 |", "provenance/run.yaml"):
        assert said in card, said


@pytest.mark.parametrize("form", FORMS)
def test_what_was_interrupted_goes_on_and_ends_as_if_it_had_not_been(
    form: str, toy: toys.Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(toy.folder, Folder(tmp_path / "whole"), form)
    whole, write = tree(tmp_path / "whole"), Folder.write
    for kept in range(1, len(whole), 3):
        target, count = tmp_path / f"cut{kept}", 0

        def cut(self: Folder, name: str, data: bytes, kept: int = kept) -> Any:
            nonlocal count
            count += 1
            if count > kept:
                raise DataError("the disk is full")
            return write(self, name, data)

        with monkeypatch.context() as patch, pytest.raises(DataError, match="disk is full"):
            patch.setattr(Folder, "write", cut)
            export(toy.folder, Folder(target), form)
        assert not (target / DONE).exists()
        assert export(toy.folder, Folder(target), form) == 15
        ended = tree(target)
        dated = ("raydc.json", "README.md") if form == "huggingface" else ()
        assert ended.keys() == whole.keys() and all(ended[k] == whole[k] for k in whole if k not in dated)
    assert export(toy.folder, Folder(tmp_path / "whole"), form) == 0


def test_a_folder_of_something_else_is_left_alone(toy: toys.Toy, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").mkdir()
    with pytest.raises(DataError, match="mine is not empty"):
        export(toy.folder, Folder(tmp_path / "mine"), "folders")
    export(toy.folder, Folder(tmp_path / "out"), "folders")
    with pytest.raises(DataError, match="out is not empty"):
        export(toy.folder, Folder(tmp_path / "out"), "webdataset")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / BEGUN).write_text(json.dumps({"form": "folders", "dataset_id": "sha256:other"}))
    with pytest.raises(DataError, match="beginning of another export"):
        export(toy.folder, Folder(tmp_path / "begun"), "folders")
    assert tree(tmp_path / "mine") == {}


def test_a_damaged_shard_ends_no_export(toy: toys.Toy, tmp_path: Path) -> None:
    copy = toys.build(str(tmp_path / "set"), shards=(8, 7), codec="jpg")
    path = Path(copy.folder.url, "images/train-000001.tar")
    raw = path.read_bytes()
    path.write_bytes(raw[:700] + bytes([raw[700] ^ 1]) + raw[701:])
    for form in FORMS:
        with pytest.raises(DataError, match=r"train-000001.tar was changed"):
            export(copy.folder, Folder(tmp_path / form), form)
        assert not (tmp_path / form / DONE).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"form": "parquet"}, "no form 'parquet'; there are folders"),
        ({"form": "folders", "labels": "soft"}, "folders takes no --labels"),
        ({"form": "huggingface", "licence": "mit\nname: x"}, "is no identifier"),
    ],
)
def test_what_is_asked_for_wrongly(options: dict[str, Any], words: str, toy: toys.Toy, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        export(toy.folder, Folder(tmp_path / "out"), **options)
    assert not (tmp_path / "out").exists()


def test_a_class_that_is_no_name_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toys, "CLASSES", ("../up", "dog", "owl"))
    toy = toys.build(str(tmp_path / "set"), shards=(3,), labels=False)
    with pytest.raises(DataError, match=r"class '\.\./up' cannot be the name of a folder"):
        export(toy.folder, Folder(tmp_path / "out"), "folders")


def test_the_verb(toy: toys.Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert tiny.code("export", toy.folder.url, out, "--form", "huggingface", "--license", "mit") == 0
    assert f"{out}: 15 images, form huggingface" in capsys.readouterr().out
    assert tiny.code("export", toy.folder.url, out, "--form", "huggingface", "--license", "mit") == 0
    assert "there already" in capsys.readouterr().out
    assert tiny.code("export", toy.folder.url, out, "--form", "huggingface") == 3
    assert tiny.code("export", tmp_path, out, "--form", "folders") == 3
