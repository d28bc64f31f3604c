"""Runs on the data that people have: folders and shards of all sorts, subsets, a bucket, and no images at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import yaml

import raydc
from raydc.config.load import merge
from raydc.store.folder import Folder
from raydc.store.verify import verify
from tests import s3, tiny
from tests.sources.make import shard

from .knowing import members, picture, teacher

# botocore and moto call what newer Pythons deprecate; nothing of it is ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

NAMES = ["big cat", "zebra (plain)", "Ångström"]
COUNTS = {"big cat": 19, "zebra (plain)": 4, "Ångström": 11}
FOURTH = "not in the data"
BRIEF = {
    "synthesize": {"steps": 2, "snapshots": 1},
    "evaluate": {"epochs": 2},
    "squeeze": {"teachers": [merge(tiny.TREE["squeeze"]["teachers"][0], {"train": {"epochs": 1, "batch": 8}})]},
}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3 bucket on a server of this machine, which this process and all of Ray's know."""
    with s3.bucket("mine") as url:
        yield url


@pytest.fixture(scope="module", autouse=True)
def ray(bucket: str) -> Iterator[None]:
    """One Ray for the module, started where the bucket can be reached."""
    with tiny.ray_here():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders as they come: uneven, of all modes, sizes and kinds, at two depths, with notes among them."""
    root = tmp_path_factory.mktemp("class folders")
    modes = [("L", "png"), ("RGB", "jpg"), ("P", "png"), ("RGBA", "png"), ("L", "jpg"), ("LA", "png")]
    for c, (name, count) in enumerate(COUNTS.items()):
        for i in range(count):
            mode, kind = modes[(c + i) % len(modes)]
            path = root / name / ("more" if i % 3 == 2 else "") / f"a picture {i}.{kind.upper() if i % 2 else kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(c, i, kind, mode))
        (root / name / "notes.txt").write_text("not an image")
    return root


def config(folder: Path, data: dict[str, Any], **changes: Any) -> Path:
    """A brief run on this data, from start to end."""
    return tiny.write(folder, merge(BRIEF, {"data": {"image_size": 16, **data}, **changes}))


def check(run: str | Path, classes: list[str], ipc: int = 2, controls: tuple[str, ...] = ("random",)) -> None:
    """What everybody wants of a run: both data sets whole, with the right counts and names, and a page."""
    folder = Folder(str(run))
    for name in ("condensed", *controls):
        dataset = folder.child("datasets", name)
        assert verify(dataset) == []
        assert dataset.read("classes.txt").decode().splitlines() == classes
        data = raydc.open(dataset.url)
        assert data.classes == tuple(classes) and data.image_size == 16
        labels = [data[i][1] for i in range(len(data))]
        assert np.bincount(labels, minlength=len(classes)).tolist() == [ipc] * len(classes)
    page = folder.read("report/index.html").decode()
    assert all(name in page for name in classes)
    assert folder.size("report/images.png") > 100


def metrics(run: str | Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Folder(str(run)).read_json("metrics.json")["evaluations"]
    return found


def test_class_folders_of_all_sorts(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(tmp_path, {"name": "mine", "use": "folders", "train": str(folders)})
    assert tiny.code("run", path) == 0
    # A fifth of 19, 4 and 11 images.
    assert "no validation split given: 7 of 34 training images are held out" in capsys.readouterr().out
    check(tmp_path / "run", NAMES)
    assert {(e["data"], e["labels"]) for e in metrics(tmp_path / "run")} == {
        (data, labels) for data in ("condensed", "random") for labels in ("soft", "hard")
    }
    assert tiny.code("verify", tmp_path / "run/datasets/condensed") == 0
    real = raydc.open(str(tmp_path / "run/datasets/random"))
    for i in range(len(real)):
        image, label, *_ = real[i]
        assert image.shape == (16, 16, 3) and image.dtype == np.uint8


def test_two_classes_named_from_many(folders: Path, tmp_path: Path) -> None:
    wanted = ["Ångström", "big cat"]
    data = {"use": "folders", "train": str(folders), "subset": wanted, "validation_fraction": 0.5}
    path = config(tmp_path, data, squeeze=teacher(tmp_path, [*NAMES, FOURTH]))
    assert tiny.code("run", path) == 0
    check(tmp_path / "run", wanted)
    assert all(e["top5_last"] == 1 for e in metrics(tmp_path / "run")), "two classes are always among the first five"


def test_shards_with_a_validation_split_and_a_class_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    for s in range(3):
        shard(tmp_path / f"train/x-{s:03d}.tar", members([0, 1, 2, "big cat"], first=10 * s, names=tuple(NAMES)))
    shard(tmp_path / "val/x.tar", members([2, 1, 0, 0] * 4, first=90))
    data = {
        "use": "webdataset", "train": str(tmp_path / "train/x-{000..002}.tar"), "validation": str(tmp_path / "val"),
        "classes": str(tmp_path / "names.txt"),
    }  # fmt: skip
    assert tiny.code("run", config(tmp_path, data, squeeze=teacher(tmp_path, [*NAMES, FOURTH]))) == 0
    assert "held out" not in capsys.readouterr().out
    check(tmp_path / "run", NAMES)
    assert {e["top1_last"] * 16 % 1 for e in metrics(tmp_path / "run")} == {0}, "not tested on the images of val"


def test_shards_with_json_labels_and_a_subset_by_index(tmp_path: Path) -> None:
    shard(tmp_path / "s/x.tar", members([0, 1, 2, 3] * 10, key="species"))
    data = {"use": "webdataset", "train": str(tmp_path / "s"), "label_key": "species", "subset": [3, 0, 2]}
    squeeze = teacher(tmp_path, ["0", "1", "2", "3"])
    evaluate = {"students": []}
    path = config(tmp_path, data, squeeze=squeeze, relabel={"codec": "int8"}, pack={"format": "jpg"}, evaluate=evaluate)
    assert tiny.code("run", path) == 0
    check(tmp_path / "run", ["3", "0", "2"], controls=())
    manifest = json.loads((tmp_path / "run/datasets/condensed/raydc.json").read_text())
    assert manifest["images"]["codec"] == "jpg" and manifest["label_sets"]["soft"]["codec"]["use"] == "int8"


def test_data_and_output_in_a_bucket(
    bucket: str, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = boto3.client("s3")
    for path in folders.rglob("*.*"):
        client.put_object(Bucket="mine", Key=f"in/{path.relative_to(folders)}", Body=path.read_bytes())
    data, squeeze = {"use": "folders", "train": f"{bucket}/in"}, teacher(tmp_path, [*NAMES, FOURTH])
    path = config(tmp_path, data, output=f"{bucket}/runs/first", squeeze=squeeze, evaluate={"students": []})
    assert tiny.code("run", path) == 0
    check(f"{bucket}/runs/first", NAMES, controls=())
    assert f"{bucket}/runs/first/report/index.html" in capsys.readouterr().out
    assert tiny.code("verify", f"{bucket}/runs/first/datasets/condensed") == 0
    assert tiny.code("status", f"{bucket}/runs/first") == 0
    assert not (tmp_path / "run").exists() and not list(tmp_path.glob("s3*"))


def test_no_data_but_a_teacher_and_a_verifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    squeeze = teacher(tmp_path, [*NAMES, FOURTH])
    verifier = {**squeeze["teachers"][0], "name": "second"}
    squeeze["teachers"][0]["weights"] = Path(verifier["weights"]).as_uri()
    path = config(
        tmp_path, {"use": "none", "classes": str(tmp_path / "names.txt")}, squeeze=squeeze, relabel=None,
        evaluate={"students": [], "verifiers": [verifier]},
    )  # fmt: skip
    assert "relabel: null" in yaml.safe_dump(yaml.safe_load(path.read_text()))
    assert tiny.code("run", path) == 0
    check(tmp_path / "run", NAMES, controls=())
    answers = json.loads((tmp_path / "run/verifiers.json").read_text())
    assert [(a["verifier"], a["data"], a["count"]) for a in answers] == [
        ("second", "noise", 6), ("second", "first step", 6), ("second", "condensed", 6)
    ]  # fmt: skip
    assert all(0 <= a["top1"] <= a["top5"] <= 1 for a in answers)
    out = capsys.readouterr().out
    assert "first step" in out and "noise" in out and "held out" not in out
    assert not (tmp_path / "run/datasets/random").exists()
