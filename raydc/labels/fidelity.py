"""What storage or another arithmetic costs: the divergence of a label from the true one."""

from __future__ import annotations

import numpy as np

FIDELITY_ROWS = 32
"""Rows compared at a time: a whole shard of wide logits in float64 would not fit a cache, and is five times slower."""


def fidelity(z: np.ndarray, decoded: np.ndarray, temperature: float) -> float:
    """Mean KL divergence in nats of the decoded soft label from the true one, softmax at a temperature.

    Args:
        z: logits ``[N, K]`` before storage.
        decoded: logits ``[N, K]`` after a round trip.
        temperature: divides both.
    """
    total = 0.0
    for first in range(0, len(z), FIDELITY_ROWS):
        rows = slice(first, first + FIDELITY_ROWS)
        p, q = _log_softmax(z[rows], temperature), _log_softmax(decoded[rows], temperature)
        total += float(np.maximum(0.0, (np.exp(p) * (p - q)).sum(axis=1)).sum())
    return total / len(z)


def information(z: np.ndarray, temperature: float) -> float:
    """What there is to lose: the mean KL divergence in nats of the soft label from the uniform one."""
    return fidelity(z, np.zeros_like(z), temperature)


def agreement(z: np.ndarray, other: np.ndarray) -> float:
    """The share of rows of two arrays of logits ``[N, K]`` that name the same class first."""
    return float((z.argmax(axis=1) == other.argmax(axis=1)).mean())


def _log_softmax(z: np.ndarray, temperature: float) -> np.ndarray:
    z = z.astype(np.float64) / temperature
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))
