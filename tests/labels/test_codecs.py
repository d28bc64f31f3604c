from __future__ import annotations

import numpy as np
import pytest

from raydc.errors import DataError
from raydc.keys import Key
from raydc.labels.codecs import CODECS, describe, fidelity

ROW_BYTES = {("fp16", 1000): 2000, ("fp16", 10450): 20900, ("int8", 1000): 1004, ("int8", 10450): 10454}


def teacher_like(rows: int, classes: int) -> np.ndarray:
    """Logits of the storage study: sigma 2, the true class +12, five others +5."""
    z = 2 * Key((0, "logits", classes)).normal(rows, classes)
    z[:, 0] += 12
    z[:, 1:6] += 5
    return z


@pytest.mark.parametrize("classes", [1000, 10450])
@pytest.mark.parametrize("name", sorted(CODECS))
def test_round_trip_loses_under_a_thousandth_of_the_information(name: str, classes: int) -> None:
    codec, z = CODECS[name], teacher_like(16, classes)
    rows = codec.encode(z)
    assert rows.dtype == np.uint8 and rows.shape == (16, ROW_BYTES[name, classes])
    decoded = codec.decode(rows, classes)
    for temperature in (1, 4, 20):
        information = fidelity(z, np.zeros_like(z), temperature)
        assert fidelity(z, decoded, temperature) < 1e-3 * information


def test_int8_is_within_half_a_step_and_keeps_the_order_of_the_best() -> None:
    z = teacher_like(32, 1000)
    decoded = CODECS["int8"].decode(CODECS["int8"].encode(z), 1000)
    step = (z.max(axis=1) - z.min(axis=1)) / 255
    assert (np.abs(decoded - z).max(axis=1) <= 0.505 * step + 1e-6).all()
    assert np.array_equal(decoded.argmax(axis=1), z.argmax(axis=1))


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 65504.0, -65504.0])
def test_equal_logits_survive(name: str, value: float) -> None:
    z = np.full((2, 7), value, dtype=np.float32)
    decoded = CODECS[name].decode(CODECS[name].encode(z), 7)
    assert np.abs(decoded - z).max() <= 1e-3 * max(1.0, abs(value))


def test_the_whole_range_of_half_precision_survives() -> None:
    z = np.array([[-65504.0, 0.0, 65504.0]], dtype=np.float32)
    decoded = CODECS["int8"].decode(CODECS["int8"].encode(z), 3)
    assert np.abs(decoded - z).max() < 300


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 70000.0])
def test_values_that_cannot_be_stored_are_refused(name: str, value: float) -> None:
    z = np.zeros((3, 5), dtype=np.float32)
    z[1, 2] = value
    with pytest.raises(DataError, match="class 2 in row 1"):
        CODECS[name].encode(z)


@pytest.mark.parametrize("name", sorted(CODECS))
def test_the_stated_row_type_opens_rows_without_raydc(name: str) -> None:
    codec, z = CODECS[name], teacher_like(4, 9)
    dtype = np.dtype([tuple(tuple(p) if isinstance(p, list) else p for p in field) for field in describe(codec, 9)])
    opened = codec.encode(z).view(dtype)[:, 0]
    if name == "fp16":
        plain = opened["z"]
    else:
        plain = opened["lo"][:, None] + opened["step"][:, None] * opened["q"].astype("f4")
    assert np.allclose(plain.astype(np.float32), codec.decode(codec.encode(z), 9), atol=0.02)


@pytest.mark.parametrize("name", sorted(CODECS))
def test_rows_of_another_class_count_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="expected uint8"):
        CODECS[name].decode(CODECS[name].encode(np.zeros((2, 5), dtype=np.float32)), 6)


def test_fidelity_is_zero_for_a_copy_and_vanishes_with_temperature() -> None:
    z = teacher_like(4, 100)
    assert fidelity(z, z, 1) == 0
    other = z + Key((1, "noise")).normal(4, 100)
    assert fidelity(z, other, 20) > fidelity(z, other, 200) > 0
