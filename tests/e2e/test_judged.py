"""Sets that others have made, judged under the protocol of a run: `raydc evaluate CONFIG --dataset URL`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import raydc
from raydc.sources.decode import encode
from raydc.store.folder import Folder
from raydc.store.verify import verify
from tests import tiny

from .bad import DATA, known
from .conftest import Reference

pytestmark = pytest.mark.usefixtures("here")

BRIEF = ("--set", "evaluate.epochs=1", "--set", "relabel.views=1")
HARD = (*BRIEF, "--set", "evaluate.labels=[hard]")
FOUR = ["1", "0", "7", "4"]


def product(reference: Reference) -> raydc.CondensedDataset:  # type: ignore[name-defined]
    return raydc.open(str(reference.folder / "datasets/condensed"))


def pictures(dataset: Path) -> Counter[tuple[int, bytes]]:
    """The images of a data set with their classes, in no order."""
    assert verify(Folder(dataset)) == []
    data = raydc.open(str(dataset))
    return Counter((int(data[i][1]), data[i][0].tobytes()) for i in range(len(data)))


def export(reference: Reference, root: Path, names: list[str]) -> Path:
    """Class folders of a run's images, under these names."""
    data = product(reference)
    for i in range(len(data)):
        image, label, *_ = data[i]
        (root / names[label]).mkdir(parents=True, exist_ok=True)
        (root / names[label] / f"{i:05d}.png").write_bytes(encode(image, "png"))
    return root


def scores(run: Path) -> dict[tuple[str, str], float]:
    found = json.loads((run / "metrics.json").read_text())["evaluations"]
    return {(e["data"], e["labels"]): e["top1_last"] for e in found}


def test_a_runs_own_data_set_scores_as_it_did_in_the_run(reference: Reference, tmp_path: Path) -> None:
    """With its own labels, on the teachers of the run, beside the same random images."""
    url, run = reference.folder / "datasets/condensed", tmp_path / "judged"
    output = ("--set", f"output={run}", "--set", f"adopt.teachers={reference.folder}")
    assert tiny.code("evaluate", reference.config, "--dataset", url, *output) == 0
    assert scores(run) == scores(reference.folder) and len(scores(run)) == 4
    assert pictures(run / "datasets/condensed") == pictures(url)
    ids = [json.loads((d / "raydc.json").read_text())["dataset_id"] for d in (url, run / "datasets/condensed")]
    facts = json.loads((run / "adopted.json").read_text())
    assert ids[0] == ids[1] == facts["digest"] and facts["url"] == str(url)
    assert (run / "teachers/resnet.json").read_bytes() == (reference.folder / "teachers/resnet.json").read_bytes()
    assert "condensed, adopted" in (run / "report/index.html").read_text()

    kept = [p for d in ("teachers", "blocks", "datasets", "students") for p in (run / d).rglob("*.*")]
    before = tiny.stamps(*kept)
    assert tiny.code("run", run) == 0, "it is a run like any other"
    assert tiny.stamps(*kept) == before


def test_class_folders_in_a_folder_of_their_own(
    reference: Reference, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Uneven, one class lacking, numbered: these pixels are judged, beside as many random ones of each class."""
    config = tiny.write(tmp_path)
    root = export(reference, tmp_path / "syn", [f"new{c:03d}" for c in range(4)])
    next((root / "new001").iterdir()).unlink()
    for path in (root / "new003").iterdir():
        path.unlink()
    assert tiny.code("evaluate", config, "--dataset", root, *HARD) == 0
    assert "5 images, 1 to 2 a class, 3 of 4 classes" in capsys.readouterr().out
    (run,) = tmp_path.glob("run-on-syn-*")
    assert not (run / "teachers").exists(), "no soft labels are wanted"
    wanted = pictures(reference.folder / "datasets/condensed")
    found, control = (pictures(run / "datasets" / d) for d in ("condensed", "random"))
    assert found.total() == 5 and found <= wanted
    assert Counter(label for label, _ in found.elements()) == {0: 2, 1: 1, 2: 2}
    assert Counter(label for label, _ in control.elements()) == {0: 2, 1: 1, 2: 2} and len(control) == 5
    assert set(scores(run)) == {("condensed", "hard"), ("random", "hard")}
    facts = json.loads((run / "adopted.json").read_text())
    assert facts["url"] == str(root) and facts["digest"].startswith("sha256:") and facts["form"] == "folders"


def test_a_tensor_file_that_the_config_names(reference: Reference, tmp_path: Path) -> None:
    data = product(reference)
    rows = [data[i] for i in range(len(data))]
    images, labels = np.stack([r[0] for r in rows]).transpose(0, 3, 1, 2).copy(), np.array([r[1] for r in rows])
    path = tmp_path / "set.safetensors"
    tensors = {"images": (images / 255).astype("<f4"), "labels": labels.astype("<i8")}
    path.write_bytes(safetensors.numpy.save(tensors))
    config = tiny.write(tmp_path, {"adopt": {"url": str(path), "teachers": str(reference.folder)}})
    assert tiny.code("run", config, *BRIEF) == 0
    assert pictures(tmp_path / "run/datasets/condensed") == pictures(reference.folder / "datasets/condensed")
    assert len(scores(tmp_path / "run")) == 4


def test_a_damaged_image_is_named_and_can_be_replaced(tmp_path: Path, call: Any, reference: Reference) -> None:
    root = export(reference, tmp_path / "syn", FOUR)
    path = next((root / "7").iterdir())
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    command = ("evaluate", tiny.write(tmp_path), "--dataset", root, *HARD)
    said = call(DATA, *command)
    assert f"{path}: not a readable JPEG" in said and "unit a00000000 of the adopted set" in said
    path.write_bytes(whole)
    assert tiny.code(*command) == 0
    (root / "7" / "another.png").write_bytes(whole)
    (run,) = tmp_path.glob("run-on-syn-*")
    (run / "blocks/condensed/a00000000.json").unlink()
    assert "is not what it was when run" in call(DATA, *command)


def wrong_size(root: Path, **_: Any) -> list[str]:
    path = root / "syn.safetensors"
    tensors = {"images": np.zeros((2, 3, 8, 8), "u1"), "labels": np.array([0, 1])}
    path.write_bytes(safetensors.numpy.save(tensors))
    return [str(path)]


def too_many(root: Path, **_: Any) -> list[str]:
    path = root / "syn.safetensors"
    tensors = {"images": np.zeros((20, 3, 16, 16), "u1"), "labels": np.array([0, 1] * 10)}
    path.write_bytes(safetensors.numpy.save(tensors))
    return [str(path)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: [root / "nothing"], ["nothing", "does not exist", "class folders", ".safetensors"]),
        (wrong_size, ["images of 8x8 pixels, but data.image_size is 16", "adopt.resize=true"]),
        (too_many, ["random: 10 different real images a class", "'ant' has 4", "Leave 'random' out of evaluate.data"]),
    ],
)
def test_what_cannot_be_judged(make: Any, words: list[str], tmp_path: Path, call: Any) -> None:
    from .bad import fill

    fill(tmp_path / "in", dict.fromkeys(["ant", "bee", "cow"], 5))
    config = tiny.write(tmp_path, known(tmp_path))
    said = call(DATA, "evaluate", config, "--dataset", *make(tmp_path), *HARD)
    assert all(word in said for word in words), said
    assert not list(tmp_path.glob("run-on-*/datasets"))
