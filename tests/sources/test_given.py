"""Condensed sets of others: what their folders mean, what of them is refused, and that pixels stay as they are."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import toys
from PIL import Image

from raydc.config.stages.adopt import AdoptConfig
from raydc.config.stages.data import DataConfig
from raydc.errors import DataError
from raydc.sources.decode import decode
from raydc.sources.given import Given, glance, open_given
from raydc.sources.given.meaning import meaning
from tests.sources.make import pickled, picture, tree

CLASSES = ("ant", "bee", "cow")
DATA = DataConfig(use="none", classes=list(CLASSES), image_size=8)


def opened(url: Any, classes: tuple[str, ...] = CLASSES, data: DataConfig = DATA, **options: Any) -> Given:
    return pickled(open_given(AdoptConfig(url=str(url), **options), data, classes))


def pixels(given: Given) -> list[np.ndarray]:
    taken = [given.take(a, b) for a, b in zip(given.cuts, given.cuts[1:], strict=False)]
    return [decode(image, "it") for unit in taken for image in unit.images]


def tensors(path: Path, images: Any = None, labels: Any = None, **others: Any) -> Path:
    """A file of three random images, or of what is given."""
    images = np.random.RandomState(0).randint(0, 256, (3, 3, 8, 8)).astype("u1") if images is None else images
    labels = np.array([0, 2, 1], "<i8") if labels is None else labels
    named = {"images": images, "labels": labels, **others}
    path.write_bytes(safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in named.items() if v is not False}))
    return path


@pytest.mark.parametrize(
    ("folders", "classes", "by", "found"),
    [
        (["cow", "ant"], CLASSES, None, [2, 0]),
        (["00000", "00002"], CLASSES, None, [0, 2]),
        (["new000", "new001"], CLASSES, None, [0, 1]),
        (["0", "1", "2"], ("0", "1", "2"), None, [0, 1, 2]),
        (["4", "7"], ("1", "0", "7", "4"), None, [3, 2]),
        (["0", "1"], ("1", "0", "7"), "names", [1, 0]),
        (["0", "1"], ("1", "0", "7"), "numbers", [0, 1]),
    ],
)
def test_what_folders_are_called(folders: list[str], classes: tuple[str, ...], by: Any, found: list[int]) -> None:
    assert meaning(folders, classes, by, "it") == found


@pytest.mark.parametrize(
    ("folders", "classes", "by", "words"),
    [
        (["0", "1"], ("1", "0", "7"), None, ["two ways", "'0' is the name of class 1", "as a number", "adopt.folders"]),
        (["1", "2", "3"], CLASSES, None, ["numbered 1 to 3", "expected 0 to 2", "begin with 1"]),
        (["1", "01"], CLASSES, None, ["two folders have the number 1", "'01'"]),
        (["ant", "bea"], CLASSES, None, ["1 of its 2 class folders", "'bea', did you mean 'bee'?", "numbers 0 to 2"]),
        (["n01440764", "n01443537"], CLASSES, None, ["numbered 1440764", "another label space"]),
        (["a0", "b1"], CLASSES, None, ["different words"]),
        (["ant"], CLASSES, "numbers", ["'ant' is no number", "adopt.folders: numbers"]),
    ],
)  # fmt: skip
def test_folders_that_mean_nothing_or_two_things(folders: list[str], classes: Any, by: Any, words: list[str]) -> None:
    with pytest.raises(DataError) as error:
        meaning(folders, classes, by, "it")
    assert all(word in str(error.value) for word in words), error.value


def test_class_folders_keep_their_pixels_in_the_order_of_classes_and_names(tmp_path: Path) -> None:
    for name, seeds in {"2": [5, 6], "0": [1]}.items():
        (tmp_path / name).mkdir()
        for seed in seeds:
            (tmp_path / name / f"{seed}.png").write_bytes(picture(seed, size=(8, 8)))
    given = opened(tmp_path)
    assert given.labels.tolist() == [0, 2, 2] and given.form == "folders"
    wanted = [decode(picture(seed, size=(8, 8)), "it") for seed in (1, 5, 6)]
    assert all(np.array_equal(a, b) for a, b in zip(pixels(given), wanted, strict=True))
    found = glance(AdoptConfig(url=str(tmp_path)))
    assert (found.images, found.per_class) == (3, 1.5)
    (tmp_path / "0/1.png").rename(tmp_path / "0/2.png")
    assert opened(tmp_path).fingerprint() != given.fingerprint()


@pytest.mark.parametrize("kind", ["u1", "<f2", "<f4", "<f8"])
def test_tensors_keep_their_pixels(kind: str, tmp_path: Path) -> None:
    images = np.random.RandomState(1).randint(0, 256, (120, 3, 8, 8)).astype("u1")
    stored = images if kind == "u1" else (images / 255).astype(kind)
    given = opened(tensors(tmp_path / "x.safetensors", stored, np.arange(120) % 3))
    assert given.labels.tolist() == (np.arange(120) % 3).tolist() and given.cuts == [0, 100, 120]
    assert np.array_equal(np.stack(pixels(given)), images.transpose(0, 2, 3, 1))


def test_images_of_another_size_by_the_rule_of_the_data(tmp_path: Path) -> None:
    tree(tmp_path / "in", {"ant": 2, "bee": 1})
    assert [p.shape for p in pixels(opened(tmp_path / "in", resize=True))] == [(8, 8, 3)] * 3
    path = tensors(tmp_path / "x.safetensors", np.zeros((2, 3, 12, 9), "u1"), np.array([0, 1]))
    assert [p.shape for p in pixels(opened(path, resize=True))] == [(8, 8, 3)] * 2


def test_a_raydc_data_set_is_read_as_it_is(tmp_path: Path) -> None:
    toy = toys.build(str(tmp_path / "set"), shards=(8, 7), side=8)
    given = opened(tmp_path / "set", toys.CLASSES)
    assert given.labels.tolist() == toy.labels.tolist() and given.cuts == [0, 8, 15]
    assert np.array_equal(np.stack(pixels(given)), toy.images)
    assert given.take(0, 8).files.keys() == {"images/train-000000.tar"}


def jpeg(root: Path, name: str = "ant/x.jpg", size: tuple[int, int] = (8, 8)) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(picture(0, "jpeg", size=size))
    return root


def mixed(root: Path) -> Path:
    jpeg(root, "ant/a.jpg")
    return jpeg(root, "bee/b.jpg", (9, 8))


def truncated(root: Path) -> Path:
    path = jpeg(root) / "ant/x.jpg"
    path.write_bytes(path.read_bytes()[:200])
    return root


def bomb(root: Path, side: int = 60_000) -> Path:
    """A PNG whose header promises 60000 x 60000 pixels."""
    path = jpeg(root) / "ant/x.png"
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = struct.pack(">II", side, side)
    import zlib

    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(bytes(data))
    return root


def linked(root: Path) -> Path:
    jpeg(root / "set")
    (root / "secret.jpg").write_bytes(b"secret")
    (root / "set/ant/y.jpg").symlink_to(root / "secret.jpg")
    return root / "set"


def circle(root: Path) -> Path:
    (jpeg(root) / "ant/round").symlink_to(root, target_is_directory=True)
    return root


def run_folder(root: Path) -> Path:
    (root / "datasets").mkdir()
    (root / "run.yaml").write_text("name: x")
    return root


def empty_classes(root: Path) -> Path:
    (root / "ant").mkdir()
    return root


def other_classes(root: Path) -> Path:
    toys.build(str(root / "set"), shards=(3,), side=8, labels=False)
    return root / "set"


def a_file(root: Path) -> Path:
    (root / "set.pt").write_bytes(b"PK\3\4")
    return root / "set.pt"


def nan(root: Path) -> Path:
    images = np.zeros((3, 3, 8, 8), "<f4")
    images[1, 2, 3, 4] = np.nan
    return tensors(root / "x.safetensors", images)


def header(root: Path, tree: Any, data: bytes = bytes(64)) -> Path:
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    path = root / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


LABELS = {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda r: r / "no", ["does not exist", "raydc.json", "class folders", ".safetensors"]),
        (lambda r: r, ["holds nothing", "class folders"]),
        (a_file, ["set.pt is a file", ".safetensors"]),
        (run_folder, ["is a run folder", "datasets/condensed"]),
        (empty_classes, ["no images in them"]),
        (lambda r: jpeg(r, "x.jpg") and jpeg(r), ["1 image(s) outside of any class folder: 'x.jpg'"]),
        (lambda r: jpeg(r, "cat/x.jpg"), ["'cat'", "none of the 3 classes"]),
        (mixed, ["bee/b.jpg is 8x9 pixels", "expected 8x8, data.image_size", "adopt.resize=true"]),
        (truncated, ["ant/x.jpg: not a readable JPEG", "truncated"]),
        (bomb, ["ant/x.png", "60000"]),
        (linked, ["ant/y.jpg is a link to", "secret.jpg", "whole in its folder"]),
        (circle, ["ant/round is a link to"]),
        (other_classes, ["class 0 is 'n01 cat' there and 'ant' here", "classes.txt"]),
        (nan, ["image 1 has pixels that are no numbers"]),
        (lambda r: tensors(r / "x.safetensors", np.full((3, 3, 8, 8), 1.5)), ["image 0", "1.5 to 1.5", "[0, 1]"]),
        (lambda r: tensors(r / "x.safetensors", -np.ones((3, 3, 8, 8))), ["-1 to -1", "normalisation"]),
        (lambda r: tensors(r / "x.safetensors", labels=np.array([0, 1, 3])), ["from 0 to 3", "3 classes", "0 to 2"]),
        (lambda r: tensors(r / "x.safetensors", labels=np.array([0, -1, 1])), ["from -1 to 1"]),
        (lambda r: tensors(r / "x.safetensors", labels=np.ones((3, 3), "<f4")), ["soft labels", "I64 [N]"]),
        (lambda r: tensors(r / "x.safetensors", labels=np.array([0, 1])), ["one label an image, [3]"]),
        (lambda r: tensors(r / "x.safetensors", labels=np.array([[0], [1], [2]])), ["one label an image"]),
        (lambda r: tensors(r / "x.safetensors", labels=False), ["no tensor 'labels'", "['images']"]),
        (lambda r: tensors(r / "x.safetensors", np.zeros((3, 8, 8, 3), "u1")), ["permute(0, 3, 1, 2)"]),
        (lambda r: tensors(r / "x.safetensors", np.zeros((3, 1, 8, 8), "u1")), ["expected [N, 3, H, W]"]),
        (lambda r: tensors(r / "x.safetensors", np.zeros((3, 3, 8, 8), "<i4")), ["I32", "expected U8"]),
        (lambda r: tensors(r / "x.safetensors", np.zeros((0, 3, 8, 8), "u1"), np.zeros(0, int)), ["holds no images"]),
        (lambda r: tensors(r / "x.safetensors", np.zeros((3, 3, 9, 9), "u1")), ["9x9", "data.image_size is 8"]),
        (lambda r: header(r, b"\x80\x02}q"), ["not a safetensors file", "not JSON"]),
        (lambda r: header(r, b"[" * 100_000), ["not a safetensors file"]),
        (lambda r: header(r, [1]), ["holds a list"]),
        (lambda r: header(r, {"images": 5, "labels": LABELS}), ["entry 'images' is damaged"]),
        (
            lambda r: header(r, {"images": {"dtype": "U8", "shape": [2**40, 3, 8, 8], "data_offsets": [0, 48]}}),
            ["would have", "its header gives it 48"],
        ),
        (
            lambda r: header(r, {"images": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}}),
            ["would lie at bytes 0 to 1099511627776", "truncated"],
        ),
        (
            lambda r: header(r, {"images": {"dtype": "U8", "shape": [-1, -8], "data_offsets": [0, 8]}}),
            ["not true"],
        ),
    ],
)  # fmt: skip
def test_what_is_refused(make: Callable[[Path], Path], words: list[str], tmp_path: Path) -> None:
    url = make(tmp_path)
    with pytest.raises(DataError) as error:
        glance(AdoptConfig(url=str(url)))
        pixels(opened(url))
    assert all(word in str(error.value) for word in words), error.value


def test_a_truncated_tensor_file(tmp_path: Path) -> None:
    path = tensors(tmp_path / "x.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="truncated or its header is not true"):
        glance(AdoptConfig(url=str(path)))
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(DataError, match="not a safetensors file"):
        glance(AdoptConfig(url=str(path)))
