"""Class folders: what is found, in which order, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from raydc.errors import ConfigError, DataError

from .make import pickled, picture, source, tree


def test_classes_are_sorted_and_images_keep_their_names(tmp_path: Path) -> None:
    root = tree(tmp_path / "train", {"zebra": 2, "ant": 3, "n10": 1, "n9": 4})
    validation = tree(tmp_path / "val", {"zebra": 1, "ant": 1, "n10": 2, "n9": 1})
    data = source("folders", root, validation=validation)
    assert data.classes == ("ant", "n10", "n9", "zebra") and not data.held_out
    assert data.train.counts(4).tolist() == [3, 1, 4, 2] and data.validation.counts(4).tolist() == [1, 2, 1, 1]
    names = ["ant/im000.png", "ant/im001.png", "ant/im002.png", "n10/im000.png"]
    assert list(data.train.files)[:4] == [f"{root}/{name}" for name in names]
    assert data.raw(data.train, 4) == (tmp_path / "train/n9/im000.png").read_bytes()
    assert data.name(data.train, 4) == f"{root}/n9/im000.png"
    assert data.image(data.train, 4).shape == (8, 8, 3)


def test_file_urls_nested_folders_hidden_and_foreign_files(tmp_path: Path) -> None:
    tree(tmp_path, {"a": 1, "b/deep": 2}, "webp")
    (tmp_path / "a/UPPER.JPEG").write_bytes(picture(1, "jpg"))
    for other in (
        "a/notes.txt",
        "a/._im.jpg",
        "a/.hidden.png",
        "a/jpg",
        "a/.thumbs/t.jpg",
        "README.md",
        ".cache/x.png",
    ):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_bytes(b"no image")
    data = source("folders", tmp_path.as_uri(), validation=str(tmp_path) + "/")
    assert data.classes == ("a", "b") and data.train.counts(2).tolist() == [2, 2]
    assert data.images(data.train, range(4)).shape == (4, 8, 8, 3)
    assert np.array_equal(data.images(data.validation, [3])[0], data.image(data.train, 3))


def test_every_mode_and_size_of_picture_becomes_the_same_shape(tmp_path: Path) -> None:
    kinds = [("RGB", (40, 9)), ("L", (3, 50)), ("P", (16, 16)), ("RGBA", (7, 1)), ("LA", (20, 20)), ("1", (9, 9))]
    for i, (mode, size) in enumerate(kinds):
        path = tmp_path / f"c{i % 2}" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(i, "png", mode, size))
    for rule in ("center_crop", "squish"):
        data = source("folders", tmp_path, validation=str(tmp_path), image_size=12, resize=rule, crop_fraction=0.875)
        assert data.images(data.train, range(6)).shape == (6, 12, 12, 3)


def test_without_validation_a_part_of_train_is_held_out(tmp_path: Path) -> None:
    root = tree(tmp_path, {"a": 10, "b": 2, "c": 1})
    data = source("folders", root, validation_fraction=0.2)
    assert data.held_out
    assert data.train.counts(3).tolist() == [8, 1, 1] and data.validation.counts(3).tolist() == [2, 1, 0]
    names = [data.name(split, i) for split in (data.train, data.validation) for i in range(len(split))]
    assert len(set(names)) == 13
    assert np.array_equal(source("folders", root).validation.file, data.validation.file)


def test_a_list_gives_the_order_and_a_count_is_checked(tmp_path: Path) -> None:
    root = tree(tmp_path / "train", {"a": 2, "b": 3})
    (tmp_path / "list.txt").write_text("b\na\n")
    for spec in (["b", "a"], str(tmp_path / "list.txt")):
        data = source("folders", root, classes=spec)
        assert data.classes == ("b", "a") and (data.train.counts(2) + data.validation.counts(2)).tolist() == [3, 2]
    assert source("folders", root, classes=2).classes == ("a", "b")
    with pytest.raises(DataError, match="has 2 class folders, but data.classes says 3"):
        source("folders", root, classes=3)


def test_a_subset_by_name_or_index_is_numbered_anew(tmp_path: Path) -> None:
    root = tree(tmp_path, {"a": 2, "b": 3, "c": 4, "d": 5})
    data = source("folders", root, validation=root, subset=["d", 1])
    assert data.classes == ("d", "b") and data.train.counts(2).tolist() == [5, 3]
    listed = source("folders", root, validation=root, classes=["d", "x", "b"], subset=["b", "d"])
    assert listed.classes == ("b", "d")  # folders a and c are not in the list, x has no folder: neither is asked for
    with pytest.raises(ConfigError, match="'e' is none of the 4 classes"):
        source("folders", root, subset=["a", "e"])


def test_it_pickles_small_and_reads_the_same(tmp_path: Path) -> None:
    data = source("folders", tree(tmp_path, {f"n{c:08d}": 20 for c in range(20)}))
    packed = pickle.dumps(data)
    assert len(packed) < 400 * 60 + 4000  # 24 bytes of places and about 20 of name an image
    again = pickled(data)
    assert again.raw(again.validation, 7) == data.raw(data.validation, 7) and again.fingerprint() == data.fingerprint()


def test_the_fingerprint_does_not_depend_on_the_place(tmp_path: Path) -> None:
    counts = {"a": 3, "b": 2}
    here, there = (source("folders", tree(tmp_path / at, counts)) for at in ("here", "over/there"))
    assert here.fingerprint() == there.fingerprint()
    (tmp_path / "here/a/im000.png").rename(tmp_path / "here/a/other.png")
    assert source("folders", tmp_path / "here").fingerprint() != there.fingerprint()


def test_links_to_class_folders_are_followed(tmp_path: Path) -> None:
    tree(tmp_path / "real", {"a": 2, "b": 2})
    (tmp_path / "few").mkdir()
    for name in "ab":
        (tmp_path / "few" / name).symlink_to(tmp_path / "real" / name)
    assert len(source("folders", tmp_path / "few", validation=str(tmp_path / "real")).train) == 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"classes": ["a"]}, r"expected 2 or more"),
        ({"classes": ["a", "c"]}, r"1 class folder\(s\) that are not in the list of 2 classes: 'b'"),
        ({"classes": ["a", "b", "z"]}, "empty class, no folder named 'z'"),
        ({"validation": "VAL"}, r"differ from those of data.train.*'c' only in validation; 'b' only in training"),
        ({"validation": "VAL", "classes": ["a", "b"]}, r"data.validation .*not in the list of 2 classes: 'c'"),
        ({"validation": "EMPTY"}, "has no class folders"),
        ({"validation": "NOWHERE"}, "NOWHERE.* does not exist"),
    ],
)
def test_classes_that_do_not_fit_are_refused(tmp_path: Path, settings: dict[str, object], words: str) -> None:
    root = tree(tmp_path / "train", {"a": 2, "b": 2})
    tree(tmp_path / "VAL", {"a": 1, "c": 1})
    (tmp_path / "EMPTY").mkdir()
    if "validation" in settings:
        settings = {**settings, "validation": str(tmp_path / str(settings["validation"]))}
    with pytest.raises((DataError, ConfigError), match=words):
        source("folders", root, **settings)


def test_a_class_folder_without_images_is_an_empty_class(tmp_path: Path) -> None:
    root = tree(tmp_path, {"a": 2, "b": 2, "c": 0, "d": 0})
    (tmp_path / "d/x.gif").write_bytes(b"GIF")
    with pytest.raises(DataError, match=r"empty class, no images in its folder: 'c', 'd'. Expected files that end in"):
        source("folders", root)
    assert source("folders", root, subset=["a", "b"]).classes == ("a", "b")


def test_folders_that_are_no_class_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        source("folders", tmp_path / "missing")
    (tmp_path / "flat").mkdir()
    with pytest.raises(DataError, match="has no class folders"):
        source("folders", tmp_path / "flat")
    (tmp_path / "flat/a.jpg").write_bytes(picture(0, "jpg"))
    with pytest.raises(DataError, match=r"1 image\(s\) outside of any class folder: 'a.jpg'"):
        source("folders", tmp_path / "flat")
    with pytest.raises(DataError, match="is a file; expected a folder"):
        source("folders", tmp_path / "flat/a.jpg")
    with pytest.raises(DataError, match="one class folder, 'a'; expected 2"):
        source("folders", tree(tmp_path / "one", {"a": 2}))


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path, {"a": 1, "b": 2})
    (tmp_path / "b/im001.png").write_bytes(picture(1)[:40])
    data = source("folders", root, validation=root)
    with pytest.raises(DataError, match=f"{root}/b/im001.png: not a readable"):
        data.images(data.train, range(3))
    (tmp_path / "a/im000.png").unlink()
    with pytest.raises(DataError, match=f"cannot read {root}/a/im000.png: it does not exist"):
        data.raw(data.train, 0)
