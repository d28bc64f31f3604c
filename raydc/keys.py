"""Keys: the only source of randomness in raydc.

A key is a path of names and numbers such as ``Key(seed, "synthesize", "i00003-c00100", 17)``. Every draw is a pure
function of its key, so the same block gives the same numbers on any worker, in any order, the first time or after a
crash. The bits come from Philox, keyed by a hash of the path; the transforms below are our own, because NumPy
promises stable bits across versions but not stable distributions (NEP 19).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np


def _part(part: str | int) -> str:
    """A part of a path in words: its kind, so that 1 is not "1", and its own slashes told from those between parts."""
    return f"{type(part).__name__[0]}:{str(part).replace('%', '%25').replace('/', '%2F')}"


@dataclass(frozen=True)
class Key:
    """A path of strings and integers that names one draw."""

    path: tuple[str | int, ...]

    def child(self, *parts: str | int) -> Key:
        """Return the key of a draw below this one."""
        return Key(self.path + parts)

    def _bits(self, count: int) -> np.ndarray:
        seed = np.frombuffer(hashlib.sha256("/".join(map(_part, self.path)).encode()).digest()[:16], dtype="<u8")
        return np.random.Philox(key=seed).random_raw(count)

    def uniform(self, *shape: int) -> np.ndarray:
        """Draw float64 numbers in [0, 1) with 53 random bits each."""
        return (self._bits(math.prod(shape)) >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53

    def normal(self, *shape: int) -> np.ndarray:
        """Draw float32 standard normal numbers (Box-Muller in float64, then rounded)."""
        count = math.prod(shape)
        u = 1.0 - self.uniform(2, (count + 1) // 2)
        radius, angle = np.sqrt(-2.0 * np.log(u[0])), 2.0 * np.pi * u[1]
        pairs = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
        return pairs[:count].astype(np.float32).reshape(shape)

    def integers(self, low: int, high: int, *shape: int) -> np.ndarray:
        """Draw int64 numbers in [low, high)."""
        return low + np.floor(self.uniform(*shape) * (high - low)).astype(np.int64)

    def permutation(self, count: int) -> np.ndarray:
        """Draw a permutation of ``range(count)`` as int64."""
        return np.argsort(self._bits(count), kind="stable").astype(np.int64)
