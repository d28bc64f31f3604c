"""Bad data and bad weights as a user meets them: the first line is the cause, and work that is done is kept."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from raydc.config.load import merge
from tests import s3, tiny
from tests.sources.make import samples, shard, tree

from .bad import CLASSES, CLUSTER, CONFIG, DATA, fetched, fill, known, made, on, weights
from .knowing import members

pytestmark = pytest.mark.usefixtures("here")


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


def test_more_images_a_class_than_there_are(tmp_path: Path, call: Any) -> None:
    fill(tmp_path / "in", {"ant": 12, "bee": 12, "cow": 3})
    changes = merge(known(tmp_path), {"synthesize": {"initialize": {"use": "real"}, "ipc": 4}})
    said = call(DATA, "run", tiny.write(tmp_path, changes))
    assert "4 different real images a class" in said and "'cow' has 2" in said and "Lower synthesize.ipc" in said
    assert made(tmp_path / "run") == [], "told after a teacher was made"


def test_a_wrong_path_can_be_corrected_in_the_same_run_folder(tmp_path: Path, call: Any) -> None:
    fill(tmp_path / "in", dict.fromkeys(CLASSES, 12))
    said = call(DATA, "squeeze", tiny.write(tmp_path, known(tmp_path, train=str(tmp_path / "im"))))
    assert f"{tmp_path}/im: it does not exist" in said
    assert tiny.code("squeeze", tiny.write(tmp_path, known(tmp_path))) == 0


@pytest.fixture
def closed() -> Iterator[str]:
    """S3 at a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    with s3.at(endpoint):
        yield endpoint


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


# Stages out of their order.


def test_a_stage_says_which_stage_it_needs(tmp_path: Path, call: Any) -> None:
    config = tiny.write(tmp_path)
    for stage in ("synthesize", "pack", "relabel", "evaluate", "report"):
        assert f"{stage} needs the teachers. Run `raydc squeeze` first" in call(DATA, stage, config)
    fill(tmp_path / "in", dict.fromkeys(CLASSES, 12))
    config = tiny.write(tmp_path, known(tmp_path))
    assert tiny.code("squeeze", config) == 0
    assert "2 of 2 blocks of 'condensed' have no marker" in call(DATA, "pack", config)
    for stage in ("relabel", "evaluate", "report"):
        assert f"{stage} needs the packed data set. Run `raydc pack` first" in call(DATA, stage, config)


# What a run rests on, and what it asks for.


def test_data_that_changed_since_the_run_began(tmp_path: Path, call: Any) -> None:
    fill(tmp_path / "in", dict.fromkeys(CLASSES, 12))
    config = tiny.write(tmp_path, known(tmp_path))
    assert tiny.code("squeeze", config) == 0
    fill(tmp_path / "in", {"ant": 13})
    said = call(DATA, "synthesize", config)
    assert f"the data are not what run {tmp_path}/run began with: then 30 training and 6 validation images" in said
    assert "now 30 and 7. Restore them, or choose another 'output'" in said
    assert made(tmp_path / "run") == ["teachers"]


def test_more_of_a_node_than_there_is(tmp_path: Path, call: Any) -> None:
    said = call(CLUSTER, "run", tiny.write(tmp_path), "--set", "engine.gpus_per_worker=999")
    assert "asks for 1 CPUs and 999 GPUs, and no node" in said and "Lower engine" in said
    assert made(tmp_path / "run") == []


# Work that is done is kept.


def test_a_teacher_that_was_cut_since_is_made_again(tmp_path: Path, call: Any) -> None:
    fill(tmp_path / "in", dict.fromkeys(CLASSES, 12))
    config, weights = tiny.write(tmp_path, known(tmp_path)), tmp_path / "run/teachers/resnet.safetensors"
    assert tiny.code("squeeze", config) == 0
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    assert "the file was changed or cut. Remove it and run squeeze again" in call(DATA, "synthesize", config)
    weights.unlink()
    assert tiny.code("squeeze", config) == 0 and weights.read_bytes() == whole


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
