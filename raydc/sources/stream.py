"""A condensed data set as an endless row of epochs for PyTorch's DataLoader, which can stop at any batch and go on.

A worker of the DataLoader makes every n-th batch, and the DataLoader takes from its workers in turn: so the batches
come in the order of :meth:`CondensedDataset.batches` whatever the number of workers is, and none is made twice or left
out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from raydc.errors import ConfigError
from raydc.sources.batch import Batch
from raydc.sources.condensed import CondensedDataset, rendered

Item = tuple[torch.Tensor, ...]


class Stream(IterableDataset[Item]):
    """The share of one rank in every global batch; iterating it goes through one epoch and leaves it at the next.

    Take :meth:`loader`, which counts by itself; or give it to a ``DataLoader`` with ``batch_size=None``, and call
    ``set_epoch`` before each epoch, for a DataLoader with workers iterates copies.

    Args:
        data: the data set, with the label set that is wanted.
        batch: rows of a global batch; every rank gets its part, the last batch of an epoch may be smaller.
        seed: of the order; the order of an epoch is a function of (seed, epoch) alone.
        rank: of this process.
        world: number of processes.
    """

    def __init__(self, data: CondensedDataset, batch: int, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        data.batches(0, batch, seed, rank, world)  # refuses what cannot be dealt out, now and not in a worker
        self.data, self.batch, self.seed, self.rank, self.world = data, batch, seed, rank, world
        self.size = data.view_size() if data.label_set is not None else None
        self.epoch = 0
        self.done = 0
        """Batches of the epoch that are behind."""

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.data) // self.batch)

    def __iter__(self) -> Iterator[Item]:
        worker = get_worker_info()
        first, every = (self.done + worker.id, worker.num_workers) if worker else (self.done, 1)
        args = (self.epoch, self.batch, self.seed, self.rank, self.world)
        for batch in self.data.batches(*args, start=first, every=every):
            if worker is None:
                self.done += 1  # before it is handed out: who asks for the state has this batch in hand
            yield self._item(batch)
        self.set_epoch(self.epoch + 1)

    def _item(self, batch: Batch) -> Item:
        """Of a labelled data set views, labels, records and logits; of one with hard labels alone images and labels."""
        if self.size is not None:
            return rendered(batch, self.size)
        images = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255.0
        return images, torch.from_numpy(batch.labels)

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch; the one that is under way goes on where it is."""
        if epoch != self.epoch:
            self.epoch, self.done = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch is, and what makes it that batch; plain numbers and text."""
        made_by = {"dataset_id": self.data.dataset_id, "batch": self.batch, "seed": self.seed}
        return {"epoch": self.epoch, "done": self.done, **made_by}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a stream of the same order stopped, with as many ranks and workers as there are now.

        Raises:
            ConfigError: it was of another data set, batch or seed, whose batches are others.
        """
        mine = self.state_dict()
        changed = [k for k in ("dataset_id", "batch", "seed") if state.get(k) != mine[k]]
        if changed:
            found = ", ".join(f"{k} {state.get(k)}, here {mine[k]}" for k in changed)
            raise ConfigError(f"the state is of another order of batches: {found}. Begin the epoch anew")
        self.epoch, self.done = int(state["epoch"]), int(state["done"])

    def loader(self, workers: int = 0, **options: Any) -> StreamLoader:
        """A DataLoader of this stream that knows which batches were handed out.

        Args:
            workers: processes that read, decode and crop; each holds a cache of its own.
            options: more of ``torch.utils.data.DataLoader``.
        """
        return StreamLoader(self, workers, **options)


class StreamLoader(DataLoader[Item]):
    """A DataLoader whose state is that of the batches that it has handed out, not of those that workers have ready."""

    def __init__(self, stream: Stream, workers: int, **options: Any) -> None:
        own = {"batch_size", "shuffle", "sampler", "batch_sampler", "persistent_workers", "in_order"}
        refused = own & options.keys()
        if refused:
            raise ConfigError(f"{sorted(refused)} are the stream's own to say: it comes in batches, in its own order")
        self.stream = stream
        super().__init__(stream, batch_size=None, num_workers=workers, **options)

    def __iter__(self) -> Any:
        stream = self.stream
        if self.num_workers == 0:
            yield from super().__iter__()
            return
        for item in super().__iter__():
            stream.done += 1
            yield item
        stream.set_epoch(stream.epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        """That of the stream."""
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As the stream's."""
        self.stream.load_state_dict(state)
