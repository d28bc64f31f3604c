"""Half-precision logits.

Source: ``--use-fp16`` of SRe2L ``relabel/relabel.sh``, what the field stores. The reference for the others.
Not for: many classes: at 10,450 a row is a small picture, 20,900 bytes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from raydc.labels.codecs.base import as_bytes, checked, opened


class Fp16:
    """Half-precision logits: two bytes a class."""

    name = "fp16"
    version = 1

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}

    def row_dtype(self, classes: int) -> np.dtype:
        """See :class:`~raydc.labels.codecs.base.Codec`."""
        return np.dtype([("z", "<f2", (classes,))])

    def encode(self, logits: np.ndarray) -> np.ndarray:
        """See :class:`~raydc.labels.codecs.base.Codec`."""
        rows = np.empty(len(logits), dtype=self.row_dtype(logits.shape[1]))
        rows["z"] = checked(logits)
        return as_bytes(rows)

    def decode(self, rows: np.ndarray, classes: int, temperature: float = math.inf) -> np.ndarray:
        """See :class:`~raydc.labels.codecs.base.Codec`."""
        return opened(rows, self.row_dtype(classes))["z"].astype(np.float32)
