from __future__ import annotations

import io
import tarfile

import pytest

from raydc.errors import DataError
from raydc.store import tar

MEMBERS = [("00000000.cls", b"1"), ("00000000.png", b"x" * 700), ("00000000.json", b"{}"), ("empty", b"")]


def test_what_is_built_is_read_back_in_order() -> None:
    data, places = tar.build(MEMBERS)
    assert list(tar.read(data, "toy.tar")) == MEMBERS
    assert {name: data[o : o + n] for name, (o, n) in places.items()} == dict(MEMBERS)
    assert len(data) % tar.RECORD == 0


def test_headers_are_what_tarfile_itself_would_write_for_anonymous_files() -> None:
    data, _ = tar.build(MEMBERS)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            assert (info.mode, info.mtime, info.uid, info.gid, info.uname, info.gname) == (0o644, 0, 0, 0, "", "")


def test_scan_reads_no_payload() -> None:
    class Counting(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            Counting.count += len(data)
            return data

    data, places = tar.build([("a", b"x" * 1_000_000), ("b", b"y" * 1_000_000)])
    assert {n: (o, s) for n, o, s in tar.scan(Counting(data), "big.tar")} == places
    assert Counting.count < 20_000


@pytest.mark.parametrize("cut", [0, 100, 512, 600, 1024, 1500, 2048, 2560, 3072, 3584])
def test_a_truncated_tar_is_named_wherever_it_is_cut(cut: int) -> None:
    data, _ = tar.build(MEMBERS)
    with pytest.raises(DataError, match=r"train-000003\.tar.*(truncated|whole|damaged)"):
        list(tar.read(data[:cut], "train-000003.tar"))


@pytest.mark.parametrize("data", [b"\x1f\x8b" + bytes(2000), b"<html>" * 400, b"abc"])
def test_what_is_no_tar_is_named(data: bytes) -> None:
    with pytest.raises(DataError, match=r"page\.tar is not a whole, uncompressed tar"):
        list(tar.read(data, "page.tar"))


def test_a_damaged_header_is_not_taken_for_the_end() -> None:
    data, places = tar.build(MEMBERS)
    offset = places["00000000.json"][0] - 512
    broken = data[: offset + 3] + b"\xff" + data[offset + 4 :]
    with pytest.raises(DataError, match="damaged header"):
        list(tar.read(broken, "t.tar"))


@pytest.mark.parametrize("name", ["x" * 101, "", "\u00e9.cls"])
def test_names_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="ASCII"):
        tar.build([(name, b"")])


def test_a_name_comes_once() -> None:
    with pytest.raises(DataError, match="comes twice"):
        tar.build([("a", b""), ("a", b"")])


def hostile(kind: str) -> bytes:
    """Archives whose headers lie in numbers that ``tarfile`` works with before anyone looks at them."""
    info = tarfile.TarInfo("x.cls")
    if kind == "nested":
        link = tarfile.TarInfo("././@LongLink")
        link.type, link.size = tarfile.GNUTYPE_LONGNAME, 2
        return (link.tobuf() + b"x\0".ljust(512, b"\0")) * 3000 + info.tobuf() + bytes(1024)
    if kind == "size":
        header = bytearray(info.tobuf())
        header[124:136] = b"\x80" + (2**80).to_bytes(11, "big")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return bytes(header) + bytes(1024)
    records = {"digits": {"size": "9" * 30}, "sparse": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
               "map": {"GNU.sparse.map": "a,b,c,d", "GNU.sparse.size": "9"}}[kind]  # fmt: skip
    info.pax_headers = records
    return info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)


@pytest.mark.parametrize("kind", ["nested", "size", "digits", "sparse", "map"])
def test_headers_that_lie_in_numbers_are_refused_in_words(kind: str) -> None:
    with pytest.raises(DataError, match="the shard"):
        list(tar.scan(io.BytesIO(hostile(kind)), "the shard"))
