"""Data sets that want to do harm: each is refused with a message, before memory is taken for what it promises.

Whoever makes such a set can make its digests right, so those are made right here too.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from PIL import Image

import raydc
from raydc.errors import DataError
from raydc.sources.webdataset import _Labels, _samples
from raydc.store import tar
from raydc.store.export import export
from raydc.store.folder import Folder
from raydc.store.shards import from_npy, keys_digest
from raydc.store.verify import verify

IMAGES, LABELS = "images/train-000000.tar", "labels/soft/train-000000-v0000-0002.tar"
MEMORY = 64 << 20
"""What reading a toy of some kilobytes may take at most, whatever it promises."""

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def toy(tmp_path: Path) -> toys.Toy:
    return toys.build(str(tmp_path / "set"), shards=(6,))


def rewrite(toy: toys.Toy, change: Change) -> None:
    tree = toy.folder.read_json("raydc.json")
    change(tree)
    toy.folder.write_json("raydc.json", tree)


def shard(toy: toys.Toy, data: bytes, keys: list[str] | None = None) -> None:
    """Put these bytes in the place of the image shard, with all digests right."""
    toy.folder.write(IMAGES, data)

    def change(tree: dict[str, Any]) -> None:
        entry = tree["images"]["files"][0]
        entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        if keys is not None:
            entry |= {"samples": len(keys), "keys_sha256": keys_digest(keys)}
            tree["images"]["count"] = len(keys)

    rewrite(toy, change)


def members(toy: toys.Toy) -> list[tuple[str, bytes]]:
    return list(tar.read(toy.folder.read(IMAGES), IMAGES))


def replaced(name: str, data: bytes) -> Callable[[toys.Toy], None]:
    """The shard with other bytes in a member."""
    return lambda toy: shard(toy, tar.build((n, data if n == name else d) for n, d in members(toy))[0])


def archive(toy: toys.Toy, *infos: tarfile.TarInfo, payload: bytes = b"") -> bytes:
    """The shard as tarfile would write it, with these entries behind."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as out:
        for name, data in members(toy):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        for info in infos:
            out.addfile(info, io.BytesIO(payload))
    return buffer.getvalue()


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def raw_header(name: str, kind: bytes, size: bytes) -> bytes:
    """A header with any size, also one that no writer would write."""
    header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    header[124:136], header[156:157], header[148:156] = size, kind, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def bomb(side: int) -> bytes:
    """A PNG that promises side x side pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


def npy(header: str) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64)


def npy_of(shape: str, dtype: str = "|u1") -> bytes:
    return npy(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}")


def in_labels(member: str, data: bytes) -> Callable[[toys.Toy], None]:
    """A label file with other bytes in a member, its digest and its places right."""

    def spoil(toy: toys.Toy) -> None:
        held = [(n, data if n == member else d) for n, d in tar.read(toy.folder.read(LABELS), LABELS)]
        made, places = tar.build(held)
        toy.folder.write(LABELS, made)
        facts = {"bytes": len(made), "sha256": hashlib.sha256(made).hexdigest(), "members": places}
        rewrite(toy, lambda tree: tree["label_sets"]["soft"]["files"][0].update(facts))

    return spoil


def manifest(change: Change) -> Callable[[toys.Toy], None]:
    return lambda toy: rewrite(toy, change)


def image(**facts: Any) -> Callable[[toys.Toy], None]:
    return manifest(lambda tree: tree["images"]["files"][0].update(facts))


def label(**facts: Any) -> Callable[[toys.Toy], None]:
    return manifest(lambda tree: tree["label_sets"]["soft"]["files"][0].update(facts))


def place(offset: int, size: int) -> Callable[[toys.Toy], None]:
    return manifest(
        lambda tree: tree["label_sets"]["soft"]["files"][0]["members"].update({"v0001.lab.npy": [offset, size]})
    )


def huge_manifest(toy: toys.Toy) -> None:
    with Path(toy.folder.url, "raydc.json").open("r+b") as file:
        file.truncate(1 << 40)  # a hole: no disk is taken


def huge_shard(toy: toys.Toy) -> None:
    with Path(toy.folder.url, IMAGES).open("r+b") as file:
        file.truncate(1 << 40)


def twice(toy: toys.Toy) -> None:
    info = tarfile.TarInfo("00000000.png")
    shard(toy, archive(toy, info))


HOSTILE = {
    "path up": (image(path="images/../../etc/passwd.tar"), "without '..'"),
    "path absolute": (image(path="/etc/passwd"), "must be relative"),
    "path with a drive": (image(path="c:/x.tar"), "must be relative"),
    "path of the manifest": (image(path="raydc.json"), "images.files.0.path"),
    "label path elsewhere": (label(path="images/train-000000.tar"), "files.0.path"),
    "shard too large": (image(bytes=1 << 40), "images.files.0.bytes"),
    "shard that has grown": (huge_shard, "bytes, the manifest states"),
    "samples without room": (image(samples=1 << 40), "samples need more than"),
    "samples negative": (image(samples=-1), "images.files.0.samples"),
    "images of no size": (manifest(lambda t: t["images"].update(size=[0, 16])), "images.size.0"),
    "images too large": (manifest(lambda t: t["images"].update(size=[1 << 20, 16])), "images.size.0"),
    "more pixels than bytes": (manifest(lambda t: t["images"].update(size=[65535, 65535])), "too few for 6 images"),
    "classes that are not there": (manifest(lambda t: t["source"].update(classes=1 << 40)), "the manifest states 109"),
    "views without end": (label(views=[0, 1 << 40]), "views 0 to 1099511627776 and 6 members"),
    "views negative": (label(views=[-5, 3]), "views -5 to 3"),
    "views overlap": (
        manifest(lambda t: t["label_sets"]["soft"]["files"].append(t["label_sets"]["soft"]["files"][0])),
        "6 of 3 views",
    ),
    "views missing": (manifest(lambda t: t["label_sets"]["soft"].update(views=1 << 40)), "3 of 1099511627776 views"),
    "member beyond the file": (place(1 << 30, 100), "cannot be in a file of"),
    "member before the file": (place(-4, 100), "cannot be in a file of"),
    "member too large": (place(0, 1 << 40), "cannot be in a file of"),
    "rows too wide": (manifest(lambda t: t["label_sets"]["soft"].update(row_bytes=1 << 40)), "expected 7"),
    "rows of objects": (manifest(lambda t: t["label_sets"]["soft"].update(row_dtype=[["q", "|O"]])), "rows of 7 bytes"),
    "manifest too large": (huge_manifest, "268,435,456 at most"),
    "manifest too deep": (lambda t: t.folder.write("raydc.json", b"[" * 200_000), "not valid JSON"),
    "object array": (in_labels("v0000.lab.npy", npy_of("(6,)", "|O")), "not a readable array"),
    "array too large": (in_labels("v0000.lab.npy", npy_of(f"({1 << 40},)")), "promises 1,099,511,627,776 bytes"),
    "array negative": (in_labels("v0000.lab.npy", npy_of("(-1, -64)")), "v0000.lab.npy"),
    "array of another shape": (in_labels("v0000.lab.npy", npy_of("(8, 8)")), "expected uint8 [6, 7]"),
    "array of another type": (in_labels("v0000.aug.npy", npy_of("(4, 2)", "<f8")), "4 records and labels"),
    "array with a long header": (in_labels("v0000.lab.npy", npy("{" + "(" * 90)), "not a readable array"),
    "array that is none": (in_labels("v0000.lab.npy", b"\x80\x04cos\nsystem\n"), "not a readable array"),
    "image bomb": (replaced("00000002.png", bomb(60_000)), "decompression bomb"),
    "image of another size": (replaced("00000002.png", bomb(17)), "17x17 pixels"),
    "image truncated": (replaced("00000002.png", bomb(16)[:50]), "not a readable JPEG, PNG"),
    "class of many digits": (replaced("00000002.cls", b"9" * 5000), "5000 bytes or more"),
    "class out of range": (replaced("00000002.cls", b"3"), "labels 0 to 3"),
    "class negative": (replaced("00000002.cls", b"-1"), "labels -1 to"),
    "class that is code": (replaced("00000002.cls", b"__import__"), "not a whole number"),
    "symbolic link": (lambda t: shard(t, archive(t, entry("x.png", tarfile.SYMTYPE, "/etc/passwd"))), "is a link"),
    "hard link": (lambda t: shard(t, archive(t, entry("x.png", tarfile.LNKTYPE, "00000000.png"))), "is a link"),
    "device": (lambda t: shard(t, archive(t, entry("x.png", tarfile.CHRTYPE))), "is no plain file"),
    "pipe": (lambda t: shard(t, archive(t, entry("x.png", tarfile.FIFOTYPE))), "is no plain file"),
    "name up": (lambda t: shard(t, archive(t, tarfile.TarInfo("../../x.png"))), "is not called KEY.FIELD"),
    "name absolute": (lambda t: shard(t, archive(t, tarfile.TarInfo("/x.png"))), "is not called KEY.FIELD"),
    "name in a folder": (lambda t: shard(t, archive(t, tarfile.TarInfo("a/x.png"))), "is not called KEY.FIELD"),
    "name twice": (twice, "member '00000000.png' comes twice"),
    "tar truncated": (lambda t: shard(t, t.folder.read(IMAGES)[:15_000]), "not a whole, uncompressed tar"),
    "member of 10 GB": (
        lambda t: shard(t, raw_header("00000000.cls", b"0", b"%011o\0" % (8 << 30))[:512] + bytes(20_480)),
        "not a whole, uncompressed tar",
    ),
    "member of negative size": (
        lambda t: shard(t, raw_header("00000000.cls", b"0", b"\xff" * 11 + b"\x00") + bytes(20_480)),
        "00000000.cls",
    ),
    "long name of 10 GB": (
        lambda t: shard(t, raw_header("x", b"L", b"\x80" + (10 << 30).to_bytes(11, "big")) + bytes(20_480)),
        "has a header of 10737418240 bytes",
    ),
    "long name of negative size": (
        lambda t: shard(t, raw_header("x", b"L", b"\xff" * 11 + b"\x00") + bytes(20_480)),
        "images/train-000000.tar",
    ),
    "digest that is none": (image(sha256="0"), "images.files.0.sha256"),
    "digest of something else": (image(sha256="0" * 64), "was changed"),
    "key digest of something else": (image(keys_sha256="0" * 64), "another order"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_reading_it_is_refused_in_words_and_takes_no_memory(what: str, toy: toys.Toy) -> None:
    spoil, words = HOSTILE[what]
    spoil(toy)
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as error:
            data = raydc.open(toy.folder.url)
            for epoch in range(3):
                list(data.batches(epoch, 2))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert words in str(error.value), error.value
    assert peak < MEMORY, f"{peak:,} bytes"


@pytest.mark.parametrize("what", [k for k in HOSTILE if "image" not in k and "array" not in k])
def test_neither_verify_nor_export_is_fooled(what: str, toy: toys.Toy, tmp_path: Path) -> None:
    """Some say what is wrong only of what they read: none fails in another way, or writes outside of its folder."""
    HOSTILE[what][0](toy)
    before = {p for p in tmp_path.rglob("*") if "out" not in p.parts}
    assert verify(toy.folder)
    with suppress(DataError):
        export(toy.folder, Folder(tmp_path / "out"), "folders")
    assert {p for p in tmp_path.rglob("*") if "out" not in p.parts} == before


@pytest.mark.parametrize("wide", ["(6, 12)", "(6, 13)", "(100, 12)", "()"])
def test_a_header_and_its_bytes_must_agree(wide: str) -> None:
    with pytest.raises(DataError, match="promises"):
        from_npy(npy_of(wide, "<u2"), "it")


def test_a_class_of_10_gb_in_real_data_is_not_read() -> None:
    class Holes(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None and 0 <= size < 1 << 20
            return super().read(size)

    data = raw_header("a.cls", b"0", b"%011o\0" % (4 << 30)) + bytes(2048)
    with pytest.raises(DataError, match="has 4,294,967,296 bytes; a class has"):
        list(_samples(Holes(data), "x.tar", _Labels("cls", None)))


def test_a_record_of_numbers_without_end_is_refused(toy: toys.Toy) -> None:
    toy.folder.write("raydc.json", json.dumps({"format": "raydc-dataset/1"}).replace("1", "1" * 5000).encode())
    with pytest.raises(DataError):
        raydc.open(toy.folder.url)
    toy.folder.write("raydc.json", b'{"format": "raydc-dataset/1", "revision": ' + b"1" * 5000 + b"}")
    with pytest.raises(DataError, match="not valid JSON"):
        raydc.open(toy.folder.url)
    assert np.isfinite(toy.images).all()
