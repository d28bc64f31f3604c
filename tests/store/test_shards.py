from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from raydc.errors import DataError
from raydc.store import tar
from raydc.store.shards import Sample, from_npy, image_shard, keys_digest, label_shard, npy

SAMPLES = [Sample(i % 2, f"n{i % 2:08d}", i // 2, 0, f"b{i}", "png", bytes([i]) * (i + 1) * 100) for i in range(5)]
GOLDEN_IMAGES = "ed08271ca0c69423b1e532c30efc7095136674a63a5306fda08fc44ed9ed8970"
GOLDEN_LABELS = "3b4ae439357e010ddfc56a21518ec120e8c64bd261f919460742f9ece3cb696d"


def label_views() -> list[tuple[int, np.ndarray, np.ndarray]]:
    records = np.arange(5 * 12, dtype="<u2").reshape(5, 12)
    rows = np.arange(5 * 7, dtype=np.uint8).reshape(5, 7)
    return [(v, records + np.uint16(v), rows + np.uint8(v)) for v in range(3)]


def test_image_shards_have_golden_bytes() -> None:
    data, _ = image_shard(SAMPLES, 40)
    assert hashlib.sha256(data).hexdigest() == GOLDEN_IMAGES


def test_label_shards_have_golden_bytes() -> None:
    data, _ = label_shard(label_views())
    assert hashlib.sha256(data).hexdigest() == GOLDEN_LABELS


def test_samples_are_adjacent_members_with_flat_json() -> None:
    data, keys = image_shard(SAMPLES, 40)
    members = list(tar.read(data, "t"))
    assert keys == [f"{i:08d}" for i in range(40, 45)]
    assert [n for n, _ in members[:4]] == ["00000040.cls", "00000040.png", "00000040.json", "00000041.cls"]
    facts = json.loads(members[5][1])
    assert facts == {"label": 1, "synset": "n00000001", "ipc": 0, "block": 0, "source": "b1"}


def test_views_are_read_by_range() -> None:
    data, members = label_shard(label_views())
    offset, size = members["v0002.lab.npy"]
    assert np.array_equal(from_npy(data[offset : offset + size], "t"), label_views()[2][2])
    assert list(members) == [f"v000{v}.{k}.npy" for v in range(3) for k in ("aug", "lab")]


def test_order_is_part_of_the_keys_digest() -> None:
    assert keys_digest(["a", "b"]) != keys_digest(["b", "a"])


@pytest.mark.parametrize("extension", ["webp", "jpeg", "jpg"])
def test_one_kind_of_image_that_all_readers_know(extension: str) -> None:
    with pytest.raises(DataError, match="expected all png or all jpg"):
        image_shard([SAMPLES[0], replace(SAMPLES[1], extension=extension)], 0)  # type: ignore[arg-type]


def test_object_arrays_are_neither_written_nor_read() -> None:
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(DataError, match="pickle"):
        npy(objects)
    buffer = io.BytesIO()
    np.save(buffer, objects, allow_pickle=True)
    with pytest.raises(DataError, match=r"v0000\.lab\.npy is not a readable array"):
        from_npy(buffer.getvalue(), "v0000.lab.npy")


@pytest.mark.parametrize("keep", [0, 5, 100, 130])
def test_truncated_arrays_are_named(keep: int) -> None:
    with pytest.raises(DataError, match="here is not a readable array"):
        from_npy(npy(np.zeros((4, 12), dtype="<u2"))[:keep], "here")


def test_rows_and_records_must_agree() -> None:
    view, records, rows = label_views()[0]
    with pytest.raises(DataError, match="of equal length"):
        label_shard([(view, records, rows[:-1])])
    with pytest.raises(DataError, match="expected uint16"):
        label_shard([(view, records.astype(np.int64), rows)])
