"""How the rows of a data set are dealt: shards and rows in keyed orders, cut into batches, shared out over ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from raydc.keys import Key


def dealt(rows: np.ndarray, rank: int, world: int) -> np.ndarray:
    """Rows ``rank::world`` of a global batch; where it has fewer rows than ranks, a rank without one lends the first.

    What a rank lends counts for nothing; yet it must have something to compute, because ranks compute together.
    """
    return rows[rank::world] if rank < len(rows) else rows[:1]


def order_of_shards(count: int, epoch: int, seed: int) -> list[int]:
    """The shards in the order in which an epoch shows them."""
    return _key(epoch, seed).child("shards").permutation(count).tolist()


def global_batches(
    samples: Sequence[int], batch: int, epoch: int, seed: int | None, least: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The global batches of an epoch: of each image its shard and its row, int64 ``[B]`` both.

    Shard after shard: what is held is a shard's order and a batch, however large the data set is.

    Args:
        samples: rows of each shard.
        batch: rows of a batch; the last one may be smaller.
        epoch: from 0.
        seed: of the order; None: the stored order.
        least: a last batch of fewer rows joins the one before it.
    """
    left = sum(samples)
    joins = left % batch if left > batch and left % batch < least else 0
    shards = rows = np.zeros(0, np.int64)
    for s in range(len(samples)) if seed is None else order_of_shards(len(samples), epoch, seed):
        part = np.arange(samples[s]) if seed is None else _key(epoch, seed).child(s).permutation(samples[s])
        shards, rows = np.concatenate([shards, np.full(samples[s], s)]), np.concatenate([rows, part])
        while len(rows) >= (size := batch + joins if left == batch + joins else batch):
            yield shards[:size], rows[:size]
            shards, rows, left = shards[size:], rows[size:], left - size
    if len(rows):
        yield shards, rows


def _key(epoch: int, seed: int) -> Key:
    return Key((seed, "batches", epoch))
