"""The codecs on tensors give NumPy's bytes and NumPy's logits, to the bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from raydc.condense import codecs
from raydc.keys import Key
from raydc.labels.codecs import CODECS, codec_of

SETTINGS = {"top_k": {"k": 5}}


@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e-3, 3.0, 500.0, 6e4])
@pytest.mark.parametrize("classes", [5, 9, 1000])
@pytest.mark.parametrize("name", sorted(CODECS))
def test_both_sides_agree_to_the_bit(name: str, classes: int, scale: float) -> None:
    codec = codec_of(name, **SETTINGS.get(name, {}))
    z = Key((classes, round(scale))).normal(32, classes).astype(np.float32)
    z = np.clip(z * np.float32(scale), -65504, 65504)
    z[0], z[1] = 0, np.round(z[1])  # rows without spread, and with many equal values
    rows = codec.encode(z)
    assert np.array_equal(codecs.encode(torch.from_numpy(z), codec).numpy(), rows)
    for temperature in (1, 4, 20, math.inf):
        found = codecs.decode(torch.from_numpy(rows), codec, classes, temperature).numpy()
        assert found.dtype == np.float32
        assert np.array_equal(found, codec.decode(rows, classes, temperature))
        assert np.array_equal(codecs.decode(torch.from_numpy(rows[2:3]), codec, classes, temperature)[0], found[2])
