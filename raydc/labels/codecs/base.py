"""What every codec promises, and what they share: checks of logits and rows, rounding to one side."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from raydc.errors import DataError

HALF_MAX = float(np.finfo(np.float16).max)


class Codec(Protocol):
    """How a row of logits is stored."""

    name: str
    version: int
    settings: dict[str, Any]
    """What a row cannot be read without, beside the number of classes."""

    def row_dtype(self, classes: int) -> np.dtype:
        """NumPy type of one row; its item size is the bytes of a row."""

    def encode(self, logits: np.ndarray) -> np.ndarray:
        """Logits float ``[N, K]`` to uint8 ``[N, row_bytes]``; DataError if a value is not finite or beyond 65504."""

    def decode(self, rows: np.ndarray, classes: int, temperature: float = math.inf) -> np.ndarray:
        """Rows uint8 ``[N, row_bytes]`` to float32 ``[N, K]``; DataError if the row is of another length.

        Where a codec keeps some classes only by what they are like on the whole, they all get the one logit that gives
        them the right mass at this temperature; at infinity that is their mean.
        """


def describe(codec: Codec, classes: int) -> list[list[Any]]:
    """The row type as JSON, such as ``[["lo", "<f2"], ["q", "|u1", [1000]]]``, for the manifest."""
    descr: Any = np.lib.format.dtype_to_descr(codec.row_dtype(classes))
    return [[list(part) if isinstance(part, tuple) else part for part in field] for field in descr]


def checked(logits: np.ndarray) -> np.ndarray:
    """The logits as float32, or a DataError that names one that cannot be stored."""
    bad = ~(np.abs(logits) <= HALF_MAX)
    if bad.any():
        row, column = np.argwhere(bad)[0].tolist()
        raise DataError(
            f"logit {logits[row, column]} of class {column} in row {row}: expected finite values within "
            f"{HALF_MAX:.0f}. The teacher overflowed; check its weights and normalisation, or label in float32"
        )
    return logits.astype(np.float32, copy=False)


def half(values: np.ndarray, up: bool) -> np.ndarray:
    """Round float32 to half precision towards one side; zero has no sign, which one a minimum has is left to chance."""
    rounded = values.astype(np.float16)
    wrong = rounded.astype(np.float32) < values if up else rounded.astype(np.float32) > values
    rounded[wrong] = np.nextafter(rounded[wrong], np.float16(np.inf if up else -np.inf))
    return rounded + np.float16(0)


def as_bytes(rows: np.ndarray) -> np.ndarray:
    """Rows of a codec's type ``[N]`` as uint8 ``[N, row_bytes]``."""
    return rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)


def opened(rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Rows uint8 ``[N, row_bytes]`` as a codec's type ``[N]``, or a DataError."""
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != dtype.itemsize:
        raise DataError(f"label rows are {rows.dtype} {list(rows.shape)}, expected uint8 [N, {dtype.itemsize}]")
    return np.ascontiguousarray(rows).view(dtype).reshape(len(rows))
