"""Bad input as a user meets it: the first line is the cause, the exit code its kind, and nothing is half done."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs
import torch

from raydc.config.load import merge
from raydc.config.schema import Arch
from raydc.keys import Key
from raydc.teachers.networks import build
from raydc.teachers.teacher import save
from tests import tiny
from tests.sources.make import samples, shard, tree

from .knowing import members, picture, teacher

CONFIG, DATA, CLUSTER = 2, 3, 4
ANNOUNCED = ("run.yaml", "env.json", "status.json", "events")
"""What a run writes of itself before it does anything."""
CLASSES = ["ant", "bee", "cow"]
BRIEF = {"synthesize": {"steps": 2, "snapshots": 1}}


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """One Ray for the module."""
    with tiny.ray_here():
        yield


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Call a command that must fail with this exit code; what it says on standard error."""

    def failing(expected: int, *arguments: str | Path) -> str:
        capsys.readouterr()
        code = tiny.code(*arguments)
        out, err = capsys.readouterr()
        assert code == expected, err
        assert "Traceback" not in out + err
        assert err.startswith("error: "), err
        return err.removeprefix("error: ")

    return failing


def weights(folder: Path, classes: int = 3, arch: dict[str, Any] | None = None) -> str:
    """Fresh weights of a network in a file."""
    path = folder / "weights.safetensors"
    save(build(Arch(**(arch or tiny.RESNET)), classes, 16, Key(("weights",))), path)
    return str(path)


def fetched(url: str) -> dict[str, Any]:
    """A teacher by checkpoint."""
    return {"squeeze": {"teachers": [{"name": "resnet", "arch": tiny.RESNET, "weights": url}]}}


def on(folder: Path, use: str, train: str | Path, **data: Any) -> dict[str, Any]:
    """A run on these images with a teacher by checkpoint, so that nothing is trained."""
    found = {"use": use, "name": "mine", "train": str(train), "image_size": 16, **data}
    return merge(BRIEF, {"data": found, **fetched(weights(folder))})


def known(folder: Path, use: str = "folders", **data: Any) -> dict[str, Any]:
    """A run on the pictures of ``folder/in``, with a teacher that knows them."""
    found = {"use": use, "name": "mine", "train": str(folder / "in"), "image_size": 16, **data}
    return merge(BRIEF, {"data": found, "squeeze": teacher(folder, [*CLASSES, "dog"])})


def fill(root: Path, counts: dict[str, int], size: int | None = None) -> None:
    """Class folders of pictures, cut to so many bytes."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            (root / name / f"im{n}.png").write_bytes(picture(label, n)[:size])


def made(run: Path) -> list[str]:
    """What a run has done, beside announcing itself."""
    return sorted(p.name for p in run.iterdir() if p.name not in ANNOUNCED) if run.exists() else []


# Configurations: `check` tells all of it and writes nothing.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"synthesize": {"stepz": 5}}, ["synthesize.stepz: unknown key", "mean 'steps'?"], id="key"),
        pytest.param({"enigne": {}}, ["enigne", "unknown key", "did you mean 'engine'"], id="section"),
        pytest.param({"synthesize": {"steps": "many"}}, ["synthesize.steps", "whole number", "'many'"], id="number"),
        pytest.param({"data": 8}, ["data: ", "expected a section", "found 8"], id="no section"),
        pytest.param({"evaluate": {"seeds": 3}}, ["evaluate.seeds", "expected a list", "found 3"], id="list"),
        pytest.param({"relabel": {"codec": "fp61"}}, ["relabel.codec", "did you mean 'fp16'"], id="choice"),
        pytest.param({"synthesize": {"teacher": "vgg"}}, ["synthesize.teacher is 'vgg'", "['resnet']"], id="teacher"),
        pytest.param(
            {"evaluate": {"students": [{"name": "a", "arch": {"use": "torchvision", "name": "alexnet"}}]}},
            ["evaluate.students.0.arch", "'alexnet' cannot take images of 16x16 pixels", "Raise data.image_size"],
            id="image size",
        ),
        pytest.param(
            {"evaluate": {"students": [{"name": "a", "arch": {"use": "timm", "name": "resnet81"}}]}},
            ["evaluate.students.0.arch", "no network 'resnet81'", "did you mean 'resnet18'"],
            id="network",
        ),
        pytest.param({"data": {"subset": ["1", "x"]}}, ["data.subset", "'x' is none of the 10 classes"], id="subset"),
        pytest.param(
            {"synthesize": {"classes": [4, 0]}, "evaluate": {"students": []}},
            ["synthesize.classes", "index 4", "0 to 3"],
            id="classes",
        ),
    ],
)
def test_a_config_that_cannot_be(changes: dict[str, Any], words: list[str], tmp_path: Path, call: Any) -> None:
    said = call(CONFIG, "check", tiny.write(tmp_path, changes))
    assert all(word in said for word in words), said
    assert not (tmp_path / "run").exists()


def test_mistakes_of_two_networks_are_told_at_once(tmp_path: Path, call: Any) -> None:
    students = [{"name": n, "arch": {"use": "timm", "name": n}} for n in ("resnet81", "vgg11_bn")]
    said = call(CONFIG, "check", tiny.write(tmp_path, {"evaluate": {"students": students}}))
    assert "2 mistakes" in said and "students.0.arch: " in said and "students.1.arch: " in said


def test_a_teacher_whose_class_list_lacks_classes(tmp_path: Path, call: Any) -> None:
    teacher = {"name": "resnet", "arch": tiny.RESNET, "weights": "w.safetensors", "classes": ["1", "0", "7", "four"]}
    said = call(DATA, "check", tiny.write(tmp_path, {"squeeze": {"teachers": [teacher]}}))
    assert "teacher 'resnet' has 4 outputs, the data set 4 classes" in said and "lacks 1 (4)" in said


@pytest.mark.parametrize("verb", ["check", "run", "plan"])
def test_a_config_file_that_is_missing(verb: str, tmp_path: Path, call: Any) -> None:
    said = call(CONFIG, verb, tmp_path / "nothing.yaml")
    assert f"cannot read config '{tmp_path}/nothing.yaml': No such file" in said


def test_a_folder_that_is_no_run(tmp_path: Path, call: Any) -> None:
    said = call(CONFIG, "run", tmp_path)
    assert f"{tmp_path} is not a run folder: it has no run.yaml" in said and not list(tmp_path.iterdir())
    assert "no run at" in call(DATA, "status", tmp_path)


# Data: told within moments, before any work.


def empty_class(root: Path) -> dict[str, Any]:
    tree(root / "in", {"ant": 4, "bee": 4})
    (root / "in/cow").mkdir()
    return on(root, "folders", root / "in")


def one_class(root: Path) -> dict[str, Any]:
    return on(root, "folders", tree(root / "in", {"ant": 4}))


def truncated_tar(root: Path) -> dict[str, Any]:
    shard(root / "in/x-0.tar", samples([0, 1, 2] * 4))
    path = Path(shard(root / "in/x-1.tar", samples([0, 1, 2] * 4, first=20)))
    path.write_bytes(path.read_bytes()[:5000])
    return on(root, "webdataset", root / "in")


def not_a_tar(root: Path) -> dict[str, Any]:
    (root / "in").mkdir()
    (root / "in/x-0.tar").write_bytes(b"<html>" * 400)
    return on(root, "webdataset", root / "in")


def wild_label(root: Path) -> dict[str, Any]:
    shard(root / "in/x-0.tar", samples([0, 1, 2, 3]))
    return on(root, "webdataset", root / "in", classes=3)


def no_label(root: Path) -> dict[str, Any]:
    shard(root / "in/x-0.tar", samples([0, 1, 2])[:-1])
    return on(root, "webdataset", root / "in")


def missing_folder(root: Path) -> dict[str, Any]:
    return on(root, "folders", root / "in")


def missing_shard(root: Path) -> dict[str, Any]:
    shard(root / "in/x-0.tar", samples([0, 1, 2]))
    return on(root, "webdataset", root / "in/x-{0..1}.tar")


def missing_class_list(root: Path) -> dict[str, Any]:
    shard(root / "in/x-0.tar", samples([0, 1, 2]))
    return on(root, "webdataset", root / "in", classes=str(root / "names.txt"))


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (empty_class, ["data.train", "empty class", "'cow'", ".jpg", "data.subset"]),
        (one_class, ["one class folder, 'ant'", "2 classes or more"]),
        (truncated_tar, ["in/x-1.tar is not a whole", "unexpected end of data", "write it again"]),
        (not_a_tar, ["in/x-0.tar is not a whole, uncompressed tar"]),
        (wild_label, ["in/x-0.tar, member '000003.cls'", "class index 3 is out of range", "0 to 2", "3 classes"]),
        (no_label, ["in/x-0.tar, member '000002.jpg'", "no class", "'cls'"]),
        (missing_folder, ["/in: it does not exist", "Check the spelling"]),
        (missing_shard, ["in/x-1.tar: it does not exist"]),
        (missing_class_list, ["names.txt: it does not exist"]),
    ],
)
def test_data_that_is_not_what_it_should_be(
    spoil: Callable[[Path], dict[str, Any]], words: list[str], tmp_path: Path, call: Any
) -> None:
    config = tiny.write(tmp_path, spoil(tmp_path))
    said = call(DATA, "run", config)
    assert all(word in said.splitlines()[0] for word in words), said
    assert made(tmp_path / "run") == []
    (failed,) = tiny.events(tmp_path / "run", "run_failed")[-1:] or [{"code": DATA}]
    assert failed["code"] == DATA


@pytest.mark.usefixtures("ray")
def test_more_images_a_class_than_there_are(tmp_path: Path, call: Any) -> None:
    fill(tmp_path / "in", {"ant": 12, "bee": 12, "cow": 3})
    changes = merge(known(tmp_path), {"synthesize": {"initialize": {"use": "real"}, "ipc": 4}})
    said = call(DATA, "run", tiny.write(tmp_path, changes))
    assert "4 different real images a class" in said and "'cow' has 2" in said and "Lower synthesize.ipc" in said
    assert made(tmp_path / "run") == [], "told after a teacher was made"


def test_a_student_that_cannot_be_is_told_before_the_teacher_is_trained(tmp_path: Path, call: Any) -> None:
    students = [{"name": "a", "arch": {"use": "torchvision", "name": "alexnet"}}]
    said = call(CONFIG, "run", tiny.write(tmp_path, {"evaluate": {"students": students}}))
    assert "evaluate.students.0.arch" in said and not (tmp_path / "run").exists()


@pytest.mark.usefixtures("ray")
def test_a_wrong_path_can_be_corrected_in_the_same_run_folder(tmp_path: Path, call: Any) -> None:
    fill(tmp_path / "in", dict.fromkeys(CLASSES, 12))
    said = call(DATA, "squeeze", tiny.write(tmp_path, known(tmp_path, train=str(tmp_path / "im"))))
    assert f"{tmp_path}/im: it does not exist" in said
    assert tiny.code("squeeze", tiny.write(tmp_path, known(tmp_path))) == 0


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """S3 at a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-of-the-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    yield endpoint
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("what", ["data", "output"])
def test_a_bucket_that_cannot_be_reached(what: str, closed: str, tmp_path: Path, call: Any) -> None:
    url = "s3://bucket/thing"
    changes = on(tmp_path, "folders", url) if what == "data" else {"output": url}
    config = tiny.write(tmp_path, changes)
    began = time.monotonic()
    said = call(DATA, "run", config)
    assert time.monotonic() - began < 15
    assert url in said and "could not be reached" in said and closed in said and "Check the network" in said
    written = "".join(p.read_text() for p in (tmp_path / "run").rglob("*.json*"))
    assert not any(secret in said + written for secret in ("AKIA-of-the-test", "s3cr3t-of-the-test"))
    assert made(tmp_path / "run") == []


# Teachers.


class Bomb:
    """Something whose unpickling would run code."""

    def __reduce__(self) -> Any:
        return os.system, ("touch fired",)


def with_code(root: Path) -> str:
    torch.save({"state_dict": {"stem": Bomb()}}, root / "w.pth")
    return str(root / "w.pth")


def cut(root: Path) -> str:
    path = Path(weights(root))
    path.write_bytes(path.read_bytes()[:-100])
    return str(path)


def page(root: Path) -> str:
    (root / "w.pth").write_text("<!DOCTYPE html><html>Sign in to download</html>")
    return str(root / "w.pth")


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: weights(root, 7), ["weights.safetensors) has 7 outputs, expected 4 classes", "'classes'"]),
        (
            lambda root: weights(root, 4, {**tiny.RESNET, "options": {"widths": [8, 16], "blocks": [1, 1]}}),
            ["does not fit the network", "another shape (stem.0.weight: [8, 3, 3, 3] for [4, 3, 3, 3]", "options"],
        ),
        (lambda root: weights(root, 4, tiny.CONVNET), ["does not fit the network", "missing (stem.0.weight", "name"]),
        (with_code, ["w.pth' is not a plain state dict", "would run code", "system", "model.state_dict()"]),
        (cut, ["weights.safetensors' is a damaged safetensors file"]),
        (page, ["w.pth' is neither safetensors nor a torch file", "b'<!DOCTYPE html><'", "not a page"]),
        (lambda root: str(root / "no.pth"), ["no.pth: it does not exist"]),
        (lambda root: "package:no_such_thing/w.pth", ["'no_such_thing' is not installed", "pip install no-such-thing"]),
    ],
)
def test_weights_that_do_not_fit(spoil: Callable[[Path], str], words: list[str], tmp_path: Path, call: Any) -> None:
    said = call(DATA, "run", tiny.write(tmp_path, fetched(spoil(tmp_path))))
    assert "teacher 'resnet'" in said and all(word in said for word in words), said
    assert "\n" not in said.strip() and "weights_only" not in said
    assert made(tmp_path / "run") == [] and not Path("fired").exists()


# Work that is done is kept.


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("use", ["folders", "webdataset"])
def test_a_damaged_image_is_named_and_can_be_replaced(use: str, tmp_path: Path, call: Any) -> None:
    """Whatever image is drawn is damaged; the blocks that need none are kept, and the mended run makes the others."""

    def write(size: int | None) -> None:
        if use == "folders":
            fill(tmp_path / "in", dict.fromkeys(CLASSES, 4), size)
        else:
            named = members(CLASSES * 4, names=tuple(CLASSES))
            shard(tmp_path / "in/x-0.tar", [(n, d[:size] if n.endswith("jpg") else d) for n, d in named])

    fill(tmp_path / "val", dict.fromkeys(CLASSES, 4))
    shard(tmp_path / "val/x-0.tar", members([0, 1, 2] * 4))
    data = {"validation": str(tmp_path / "val"), "classes": CLASSES}
    write(60)
    config, run = tiny.write(tmp_path, known(tmp_path, use, **data)), tmp_path / "run"
    assert tiny.code("squeeze", config) == 0
    said = call(DATA, "synthesize", config)
    named = "/im" if use == "folders" else ".jpg' of shard"
    assert "2 of 4 blocks failed, the others are done" in said and f"{tmp_path}/in/" in said and named in said
    assert "not a readable JPEG, PNG or WebP image" in said and "Replace or remove it" in said
    assert made(run) == ["blocks", "teachers"]
    kept = tiny.stamps(*(run / "blocks/condensed").iterdir(), *(run / "teachers").iterdir())
    assert len(kept) == 6 and not [p for p in run.rglob("*") if p.name.endswith(".tmp")]

    write(None)
    assert tiny.code("synthesize", config) == 0
    assert tiny.stamps(*map(Path, kept)) == kept
    assert len(list((run / "blocks/random").glob("*.json"))) == 2

    changed = tiny.write(tmp_path, known(tmp_path, use, **data, image_size=20), "other.yaml")
    said = call(CONFIG, "run", changed, "--set", "synthesize.steps=7")
    assert "was made by another config" in said and "Choose another 'output'" in said
    assert "data.image_size: 16 -> 20" in said and "synthesize.steps: 2 -> 7" in said
    assert tiny.stamps(*map(Path, kept)) == kept and "image_size: 16" in (run / "run.yaml").read_text()


@pytest.mark.usefixtures("ray")
def test_a_disk_that_is_full(tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver runs out of space as it publishes; the images are kept, and with space the same command goes on."""
    fill(tmp_path / "in", dict.fromkeys(CLASSES, 12))
    changes = merge(known(tmp_path), {"evaluate": {"students": []}})
    config, run = tiny.write(tmp_path, changes), tmp_path / "run"
    for verb in ("squeeze", "synthesize"):
        assert tiny.code(verb, config) == 0
    kept = tiny.stamps(*(run / "blocks/condensed").iterdir())
    true = os.replace

    def full(source: Path, target: Path) -> None:
        if "/datasets/" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        said = call(DATA, "pack", config)
    assert f"cannot write {run}/datasets/condensed/classes.txt: no space left" in said
    assert "bytes were to be written" in said and "run the same command again" in said
    left = [p.name for p in (run / "datasets/condensed").iterdir()]
    assert left == ["images"], "something half written was left"
    assert "is not a data set" in call(DATA, "inspect", run / "datasets/condensed")

    assert tiny.code("pack", config) == 0
    assert tiny.code("verify", run / "datasets/condensed") == 0
    assert tiny.stamps(*map(Path, kept)) == kept

    image = next((run / "datasets/condensed/images").iterdir())
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    (run / "datasets/condensed/classes.txt").unlink()
    said = call(DATA, "verify", run / "datasets/condensed")
    assert f"{run}/datasets/condensed: " in said.splitlines()[0] and "problems" in said.splitlines()[0]
    assert f"images/{image.name} was changed: its SHA-256 is" in said and "classes.txt" in said


@pytest.mark.parametrize("verb", ["inspect", "verify"])
def test_a_folder_that_is_no_data_set(verb: str, tmp_path: Path, call: Any) -> None:
    for target in (tmp_path, tmp_path / "nowhere"):
        assert f"{target} is not a data set: it has no raydc.json" in call(DATA, verb, target)


# The cluster.


@pytest.mark.parametrize("address", ["somewhere", "127.0.0.1:9", "ray://127.0.0.1:9"])
def test_a_cluster_address_that_does_not_answer(address: str, tmp_path: Path) -> None:
    config = tiny.write(tmp_path)
    environment = {**os.environ, "RAY_ADDRESS": address}
    found = subprocess.run(
        [sys.executable, "-m", "raydc", "run", str(config)], env=environment, cwd=tmp_path, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert found.returncode == CLUSTER and "Traceback" not in found.stdout + found.stderr
    assert f"error: no Ray cluster at {address}" in found.stderr and "Check RAY_ADDRESS" in found.stderr
    assert made(tmp_path / "run") == []
