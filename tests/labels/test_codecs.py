from __future__ import annotations

import numpy as np
import pytest

from raydc.errors import DataError
from raydc.keys import Key
from raydc.labels.codecs import CODECS, Codec, codec_of, describe
from raydc.labels.fidelity import fidelity, information

ROW_BYTES = {
    ("fp16", 1000): 2000, ("fp16", 10450): 20900, ("int8", 1000): 1004, ("int8", 10450): 10454,
    ("int4", 1000): 504, ("int4", 10450): 5229, ("top_k", 1000): 392, ("top_k", 10450): 392,
}  # fmt: skip
LOST = {"fp16": (1e-3, 1e-3, 1e-3), "int8": (1e-3, 1e-3, 1e-3), "int4": (5e-3, 0.05, 0.05), "top_k": (0.05, 0.9, 0.97)}
"""Share of the information that may be lost at temperatures 1, 4 and 20 (storage study, section 3.2)."""
NAMES = sorted(CODECS)


def made(name: str, k: int = 128) -> Codec:
    return codec_of(name, **({"k": k} if name == "top_k" else {}))


def teacher_like(rows: int, classes: int) -> np.ndarray:
    """Logits of the storage study: sigma 2, the true class +12, five others +5."""
    z = 2 * Key((0, "logits", classes)).normal(rows, classes)
    z[:, 0] += 12
    z[:, 1:6] += 5
    return z


@pytest.mark.parametrize("classes", [1000, 10450])
@pytest.mark.parametrize("name", NAMES)
def test_round_trip_loses_what_the_storage_study_says_at_most(name: str, classes: int) -> None:
    codec, z = made(name), teacher_like(16, classes)
    rows = codec.encode(z)
    assert rows.dtype == np.uint8 and rows.shape == (16, ROW_BYTES[name, classes])
    for temperature, most in zip((1, 4, 20), LOST[name], strict=True):
        decoded = codec.decode(rows, classes, temperature)
        assert fidelity(z, decoded, temperature) < most * information(z, temperature)


def test_int4_packs_the_even_class_into_the_low_half() -> None:
    z = np.array([[0.0, 15.0, 7.0]], np.float32)
    assert codec_of("int4").encode(z).tolist() == [[0, 0, 0, 0x3C, 0xF0, 0x07]]


# ---- top k ------------------------------------------------------------------------------------------------------
def test_top_k_keeps_the_largest_in_order_and_gives_the_others_their_mass_at_any_temperature() -> None:
    z = 2 * Key((3, "logits")).normal(8, 1000)
    z[:, 7] += 20
    codec = codec_of("top_k", k=50)
    rows = codec.encode(z)
    index = rows.view(codec.row_dtype(1000))[:, 0]["index"].astype(np.int64)
    assert np.array_equal(index, np.argsort(-z, axis=1)[:, :50])
    rest = np.argsort(-z, axis=1)[:, 50:]
    for temperature in (4, 20, 1000):
        true, kept = (np.exp(a / temperature) for a in (z, codec.decode(rows, 1000, temperature)))
        mass = np.take_along_axis(true, rest, 1).sum(1) / true.sum(1)
        assert np.allclose(np.take_along_axis(kept, rest, 1).sum(1) / kept.sum(1), mass, rtol=5e-3)


def test_top_k_never_lifts_the_others_over_a_class_that_is_kept() -> None:
    z = np.array([[9.0, 8.0, 7.9, 7.9, -500.0, -500.0]], np.float32)
    decoded = codec_of("top_k", k=2).decode(codec_of("top_k", k=2).encode(z), 6, 1.0)
    assert decoded[0, 2:].max() <= decoded[0, 1]


def test_top_k_takes_the_lower_index_first_where_logits_are_equal() -> None:
    rows = codec_of("top_k", k=2).encode(np.zeros((1, 5), np.float32))
    assert rows.view(codec_of("top_k", k=2).row_dtype(5))[0, 0]["index"].tolist() == [0, 1]


def test_top_k_counts_classes_that_half_precision_could_not() -> None:
    z = np.zeros((1, 10450), np.float32)
    z[0, 10449] = 5
    assert codec_of("top_k", k=1).decode(codec_of("top_k", k=1).encode(z), 10450)[0].argmax() == 10449


@pytest.mark.parametrize(("k", "classes"), [(6, 5), (2, 2**16 + 1)])
def test_top_k_of_impossible_numbers_is_refused(k: int, classes: int) -> None:
    with pytest.raises(DataError, match=f"keeps {k} of {classes} classes.*Choose a smaller k"):
        codec_of("top_k", k=k).row_dtype(classes)


def test_a_class_that_there_is_not_is_refused() -> None:
    rows = codec_of("top_k", k=1).encode(np.ones((1, 5), np.float32))
    rows[0, 8] = 200
    with pytest.raises(DataError, match="names class 200 of 5: it is damaged"):
        codec_of("top_k", k=1).decode(rows, 5)


# ---- what holds for all -----------------------------------------------------------------------------------------
def test_int8_is_within_half_a_step_and_keeps_the_order_of_the_best() -> None:
    z = teacher_like(32, 1000)
    decoded = codec_of("int8").decode(codec_of("int8").encode(z), 1000)
    step = (z.max(axis=1) - z.min(axis=1)) / 255
    assert (np.abs(decoded - z).max(axis=1) <= 0.505 * step + 1e-6).all()
    assert np.array_equal(decoded.argmax(axis=1), z.argmax(axis=1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 65504.0, -65504.0])
def test_equal_logits_survive(name: str, value: float) -> None:
    z = np.full((2, 7), value, dtype=np.float32)
    decoded = made(name, 3).decode(made(name, 3).encode(z), 7)
    assert np.abs(decoded - z).max() <= 1e-3 * max(1.0, abs(value))


def test_the_whole_range_of_half_precision_survives() -> None:
    z = np.array([[-65504.0, 0.0, 65504.0]], dtype=np.float32)
    decoded = codec_of("int8").decode(codec_of("int8").encode(z), 3)
    assert np.abs(decoded - z).max() < 300


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 70000.0])
def test_values_that_cannot_be_stored_are_refused(name: str, value: float) -> None:
    z = np.zeros((3, 5), dtype=np.float32)
    z[1, 2] = value
    with pytest.raises(DataError, match="class 2 in row 1"):
        made(name, 3).encode(z)


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_row_type_opens_rows_without_raydc(name: str) -> None:
    codec, z = made(name, 9), teacher_like(4, 9)
    dtype = np.dtype([tuple(tuple(p) if isinstance(p, list) else p for p in field) for field in describe(codec, 9)])
    opened = codec.encode(z).view(dtype)[:, 0]
    if name == "fp16":
        plain = opened["z"]
    else:
        q = opened["q"]
        if name == "int4":
            q = np.stack([q & 15, q >> 4], 2).reshape(4, -1)[:, :9]
        plain = opened["lo"][:, None] + opened["step"][:, None] * q.astype("f4")
        if name == "top_k":
            plain = np.take_along_axis(plain, np.argsort(opened["index"], axis=1), 1)
    assert np.allclose(plain.astype(np.float32), codec.decode(codec.encode(z), 9), atol=0.02)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"top_k"}))
def test_rows_of_another_class_count_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="expected uint8"):
        made(name).decode(made(name).encode(np.zeros((2, 5), dtype=np.float32)), 8)


def test_fidelity_is_zero_for_a_copy_and_vanishes_with_temperature() -> None:
    z = teacher_like(4, 100)
    assert fidelity(z, z, 1) == 0
    other = z + Key((1, "noise")).normal(4, 100)
    assert fidelity(z, other, 20) > fidelity(z, other, 200) > 0
