"""WebDataset shards: what is found without reading images, and what is refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from raydc.errors import ConfigError, DataError
from raydc.sources.webdataset import shards

from .make import pickled, picture, samples, shard, source


def test_shards_by_braces_folder_and_name_agree(tmp_path: Path) -> None:
    for s in range(3):
        shard(tmp_path / f"d/train-{s:06d}.tar", samples([0, 1, 2, s], first=10 * s))
    (tmp_path / "d/_info.json").write_text("{}")
    one = shard(tmp_path / "val.tar", samples([2, 1, 0]))
    braces = source("webdataset", tmp_path / "d/train-{000000..000002}.tar", validation=one)
    folder = source("webdataset", (tmp_path / "d").as_uri(), validation=one)
    assert braces.classes == ("0", "1", "2") and not braces.held_out
    assert braces.train.label.tolist() == [0, 1, 2, 0, 0, 1, 2, 1, 0, 1, 2, 2]
    assert braces.validation.label.tolist() == [2, 1, 0]
    assert braces.fingerprint() == folder.fingerprint()
    assert [braces.raw(braces.train, i) for i in range(4)] == [picture(i, "jpg") for i in range(4)]
    assert braces.raw(braces.train, 4) == picture(10, "jpg")
    assert pickled(folder).images(folder.train, [3, 11]).shape == (2, 8, 8, 3)


def test_patterns() -> None:
    assert shards("s3://b/x-{8..11}.tar") == [f"s3://b/x-{n}.tar" for n in ("8", "9", "10", "11")]
    assert shards("s3://b/{a,c}-{00..01}.tar") == [f"s3://b/{n}.tar" for n in ("a-00", "a-01", "c-00", "c-01")]
    for bad in ("x-{5..3}.tar", "x-{0}.tar", "x-{}.tar"):
        with pytest.raises(DataError, match="names no shards"):
            shards(bad)


@pytest.mark.parametrize("kind", ["jpg", "jpeg", "png", "webp", "JPG"])
def test_each_kind_of_image(tmp_path: Path, kind: str) -> None:
    members = [(name.replace("jpg", kind), data) for name, data in samples([0, 1], kind=kind.lower())]
    data = source("webdataset", shard(tmp_path / "a.tar", members), validation=str(tmp_path / "a.tar"))
    assert data.images(data.train, [0, 1]).shape == (2, 8, 8, 3)


def test_shards_written_by_webdataset_itself(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "w.tar")) as writer:
        for i in range(4):
            writer.write({"__key__": f"deep/folder/k{i}", "cls": i % 2, "jpg": picture(i, "jpg"), "txt": "a word"})
    data = source("webdataset", tmp_path / "w.tar", validation=str(tmp_path / "w.tar"))
    assert data.train.label.tolist() == [0, 1, 0, 1] and data.raw(data.train, 3) == picture(3, "jpg")


def test_long_names_and_extra_members(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for i in range(2):
            key = f"{'long' * 40}/{i}"
            own = [(f"{key}.seg.png", b"x"), (f"{key}.jpg", picture(i, "jpg")), (f"{key}.cls", b"%d\n" % i)]
            for name, data in [("__note__.txt", b"x"), *own, ("README", b"")]:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    (tmp_path / "g.tar").write_bytes(out.getvalue())
    data = source("webdataset", tmp_path / "g.tar", validation=str(tmp_path / "g.tar"))
    assert data.train.label.tolist() == [0, 1] and data.raw(data.train, 1) == picture(1, "jpg")


def test_the_class_from_a_json_field_by_number_or_name(tmp_path: Path) -> None:
    numbers = shard(tmp_path / "n.tar", samples([1, 0, 1, 0], key="label"))
    names = shard(tmp_path / "s.tar", samples(["bee", "ant", "bee", "ant"], key="synset"))
    by_number = source("webdataset", numbers, validation=numbers, label_key="label")
    by_name = source("webdataset", names, validation=names, label_key="synset", classes=["ant", "bee"])
    assert np.array_equal(by_number.train.label, by_name.train.label) and by_name.classes == ("ant", "bee")
    with pytest.raises(DataError, match=r"member '000000.json': the class is 'bee'.*Class names need data.classes"):
        source("webdataset", names, label_key="synset")


def test_classes_without_a_list_are_counted_and_padded(tmp_path: Path) -> None:
    url = shard(tmp_path / "a.tar", samples(list(range(12)) * 2))
    data = source("webdataset", url)
    assert data.classes[:2] == ("00", "01") and len(data.classes) == 12 and data.held_out
    assert source("webdataset", url, classes=12).classes == data.classes
    some = source("webdataset", url, subset=["03", 11, 0])
    assert some.classes == ("03", "11", "00")
    assert (some.train.counts(3) + some.validation.counts(3)).tolist() == [2, 2, 2]


def test_a_scan_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal read
            data = super().read(size)
            read += len(data)
            return data

    members = [(n, d if n.endswith("cls") else bytes(1_000_000)) for n, d in samples([0, 1, 0, 1])]
    url = shard(tmp_path / "a.tar", members)

    content = Path(url).read_bytes()
    monkeypatch.setattr(Path, "open", lambda path, mode: Counting(content))
    data = source("webdataset", url)
    assert len(data.train) == 2 and data.train.size.tolist() == [1_000_000] * 2
    assert read < 20_000


BAD: list[tuple[list[tuple[str, bytes]], dict[str, Any], str]] = [
    (
        samples([0, 1, 7]),
        {"classes": 3},
        r"a.tar, member '000002.cls': class index 7 is out of range; expected 0 to 2",
    ),
    (samples([0, -1]), {}, r"member '000001.cls': class index -1 is out of range; expected 0 or more"),
    (samples([0, 10**12]), {}, r"member '000001.cls': class index 1000000000000 is out of range"),
    (samples([0, 1, 50]), {}, r"a.tar has class index 50, but data.train .* has only 3 images"),
    (samples([0, 1, 3, 3, 3]), {}, r"empty class, no images of: '2' \(1 of 4 classes\)"),
    (samples([0, 1, 0]), {"classes": ["x", "y", "z"]}, r"empty class, no images of: 'z'"),
    (samples([0, 0]), {}, "every image is of class 0"),
    (samples(["one", 0]), {}, r"member '000000.cls': the class is 'one'; expected a class index"),
    (samples([True, 0], key="y"), {"label_key": "y"}, "the class is True"),
    (
        samples([0, 1], key="y"),
        {"label_key": "z"},
        r"'000000.json' has no field 'z' .*; found fields \['y'\]",
    ),
    ([("a.jpg", b"x"), ("a.json", b"{")], {"label_key": "y"}, "member 'a.json' is not valid JSON"),
    ([("a.jpg", b"x"), ("a.json", b"[1]")], {"label_key": "y"}, "found a list"),
    (samples([0, 1], key="label"), {}, r"member '000000.jpg': the image has no class; expected a 'cls' member"),
    ([("a.cls", b"0"), *samples([1])], {}, "sample 'a' has no image"),
    ([("a.cls", b"0"), ("a.jpg", b""), ("a.png", b"")], {}, "sample 'a' has two images, 'a.jpg' and 'a.png'"),
    (samples([0]) + samples([1], first=5) + [("000000.txt", b"")], {}, "members of sample '000000' are not adjacent"),
    ([("notes.txt", b"")], {}, "sample 'notes' has no image"),
    ([], {}, "has no images"),
    ([], {"classes": 2}, "has no images"),
]


@pytest.mark.parametrize(("members", "settings", "words"), BAD, ids=[words[:40] for _, _, words in BAD])
def test_malformed_shards_are_named(
    tmp_path: Path, members: list[tuple[str, bytes]], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words) as told:
        source("webdataset", shard(tmp_path / "a.tar", members), **settings)
    assert "a.tar" in str(told.value)


def test_validation_must_have_the_classes_of_train(tmp_path: Path) -> None:
    train = shard(tmp_path / "t.tar", samples([0, 1, 2]))
    more, less = shard(tmp_path / "m.tar", samples([0, 1, 2, 3])), shard(tmp_path / "l.tar", samples([0, 1]))
    with pytest.raises(DataError, match="m.tar, member '000003.cls': class index 3 .*training shards have 3 classes"):
        source("webdataset", train, validation=more)
    with pytest.raises(DataError, match=r"data.validation \(.*l.tar\): empty class, no images of: '2'"):
        source("webdataset", train, validation=less)
    assert source("webdataset", train, validation=less, subset=[1, 0]).validation.label.tolist() == [1, 0]
    with pytest.raises(DataError, match="data.validation .* has no images"):
        source("webdataset", train, validation=shard(tmp_path / "e.tar", []))


@pytest.mark.parametrize("keep", [0, 100, 700, 3000])
def test_a_truncated_shard_is_named(tmp_path: Path, keep: int) -> None:
    shard(tmp_path / "x-0.tar", samples([0, 1]))
    path = Path(shard(tmp_path / "x-1.tar", samples([0, 1, 2])))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"shard \S*x-1.tar"):
        source("webdataset", tmp_path / "x-{0..1}.tar")


def test_what_is_no_tar_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(DataError, match="x.tar is not a whole, uncompressed tar"):
        source("webdataset", tmp_path / "x.tar")
    with pytest.raises(DataError, match="missing.tar: it does not exist"):
        source("webdataset", tmp_path / "missing.tar")
    with pytest.raises(DataError, match="does not exist"):
        source("webdataset", tmp_path / "missing")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="has no .tar files"):
        source("webdataset", tmp_path / "none")
    with pytest.raises(ConfigError, match="'x' is none of the 2 classes"):
        source("webdataset", shard(tmp_path / "a.tar", samples([0, 1])), subset=["x", 0])


def test_a_broken_image_names_shard_and_member(tmp_path: Path) -> None:
    members = [*samples([0]), ("bad.jpg", picture(9, "jpg", size=(64, 64))[:500]), ("bad.cls", b"1")]
    url = shard(tmp_path / "a.tar", members)
    data = source("webdataset", url, validation=url)
    with pytest.raises(DataError, match=r"member 'bad.jpg' of shard \S*a.tar:\d+: not a readable"):
        data.image(data.train, 1)
    assert data.name(data.train, 1) == f"{url}:{data.train.offset[1]}"
    Path(url).write_bytes(Path(url).read_bytes()[:600])
    with pytest.raises(DataError, match="a.tar is truncated"):
        data.raw(data.train, 1)


def test_json_that_is_large_is_still_only_json(tmp_path: Path) -> None:
    record = json.dumps({"caption": "x" * 5000, "y": 1}).encode()
    url = shard(tmp_path / "a.tar", [("a.json", record), ("a.jpg", picture(0, "jpg")), *samples([0], first=7, key="y")])
    assert source("webdataset", url, validation=url, label_key="y").train.label.tolist() == [1, 0]
