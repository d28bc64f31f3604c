"""The k largest logits of a row, and mean and variance of the others.

A stored class takes three bytes: its index as u16 (a half-precision number counts exactly to 2,048 only, the fault of
FKD's own packing), its logit as u8 with an offset and a step of the row. The others all get the one logit that gives
them their mass: with logits of mean m and variance v around it, ``log sum exp(z / T) = log n + m / T + v / (2 T^2)`` up
to the third cumulant, so ``m + v / (2 T)``, at any temperature that a student may choose. Classes are stored from the
largest logit down, the lower index first where two are equal.

Source: FKD ``FKD_SLG/generate_soft_label.py`` (marginal smoothing keeps k = 5 or 10 of 1,000), LPQLD ("MR-k" keeps 10
to 250 of 1,000 and 100 to 2,000 of 10,450); mean and variance of the rest are ours. k: 128 of the storage study.
Not for: a copy of the whole label at a high temperature, where the tail is the signal: at 20 half or more is lost.
"""

from __future__ import annotations

import math

import numpy as np

from raydc.errors import DataError
from raydc.labels.codecs.affine import dequantize, quantize
from raydc.labels.codecs.base import HALF_MAX, as_bytes, checked, opened

LEVELS = 255
MAX_CLASSES = 2**16


class TopK:
    """The k largest logits of a row, three bytes each, and mean and variance of the others."""

    name = "top_k"
    version = 1

    def __init__(self, k: int) -> None:
        self.k = k
        self.settings = {"k": k}

    def row_dtype(self, classes: int) -> np.dtype:
        """See :class:`~raydc.labels.codecs.base.Codec`. DataError: there are fewer classes than k, or too many."""
        if not self.k <= classes <= MAX_CLASSES:
            raise DataError(
                f"top_k keeps {self.k} of {classes} classes; expected at least k classes and at most {MAX_CLASSES}. "
                "Choose a smaller k, or another codec"
            )
        kept = [("index", "<u2", (self.k,)), ("q", "|u1", (self.k,))]
        return np.dtype([("lo", "<f2"), ("step", "<f2"), ("mean", "<f2"), ("variance", "<f2"), *kept])

    def encode(self, logits: np.ndarray) -> np.ndarray:
        """See :class:`~raydc.labels.codecs.base.Codec`."""
        z = checked(logits)
        rows = np.empty(len(z), dtype=self.row_dtype(z.shape[1]))
        kept = largest(z, self.k)
        rows["index"] = kept
        rows["lo"], rows["step"], rows["q"] = quantize(np.take_along_axis(z, kept, axis=1), LEVELS)
        left = np.ones(z.shape, bool)
        np.put_along_axis(left, kept, False, axis=1)
        rows["mean"], rows["variance"] = moments(z[left].reshape(len(z), -1))
        return as_bytes(rows)

    def decode(self, rows: np.ndarray, classes: int, temperature: float = math.inf) -> np.ndarray:
        """See :class:`~raydc.labels.codecs.base.Codec`. DataError if a row names a class that there is not."""
        found = opened(rows, self.row_dtype(classes))
        kept = found["index"].astype(np.int64)
        if len(kept) and kept.max() >= classes:
            raise DataError(f"a label row names class {kept.max()} of {classes}: it is damaged. Restore the label set")
        level = rest_logit(found["mean"], found["variance"], found["lo"], temperature)
        logits = np.repeat(level[:, None], classes, axis=1)
        np.put_along_axis(logits, kept, dequantize(found["lo"], found["step"], found["q"]), axis=1)
        return logits


def largest(z: np.ndarray, k: int) -> np.ndarray:
    """The classes of the k largest logits of float32 ``[N, K]``, int64 ``[N, k]``, from the largest down.

    A logit's bits in an order that whole numbers share, with the class below them: no two are equal, so that a partial
    sort, which is ten times faster than a whole one, has one result only.
    """
    bits = (z + np.float32(0)).view(np.int32).astype(np.int64)
    ranked = (bits ^ (bits >> 31 & 0x7FFFFFFF)) * MAX_CLASSES + (MAX_CLASSES - 1 - np.arange(z.shape[1]))
    best = np.partition(ranked, z.shape[1] - k, axis=1)[:, z.shape[1] - k :]
    return MAX_CLASSES - 1 - (np.sort(best, axis=1)[:, ::-1] & (MAX_CLASSES - 1))


def moments(rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of float32 ``[N, R]`` as float16 ``[N]``; zeros where nothing is left."""
    if rest.shape[1] == 0:
        return np.zeros(len(rest), np.float16), np.zeros(len(rest), np.float16)
    mean, variance = rest.mean(axis=1, dtype=np.float64), rest.var(axis=1, dtype=np.float64)
    return mean.astype(np.float16), np.minimum(variance, HALF_MAX).astype(np.float16)


def rest_logit(mean: np.ndarray, variance: np.ndarray, least: np.ndarray, temperature: float) -> np.ndarray:
    """The one logit of all classes that are not kept, float32 ``[N]``; ``least`` is the smallest that is."""
    level = mean.astype(np.float32) + variance.astype(np.float32) * np.float32(0.5 / temperature)
    return np.minimum(level, least.astype(np.float32))
