"""A condensed data set under PyTorch's DataLoader: every row once, in one order, and from any batch on."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import toys
from torch.utils.data import DataLoader

import raydc
from raydc.errors import ConfigError
from raydc.sources.stream import Stream

COUNT, BATCH = 23, 6


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> toys.Toy:
    return toys.build(str(tmp_path_factory.mktemp("stream") / "set"), shards=(8, 7, 8))


def stream(toy: toys.Toy, **options: Any) -> Stream:
    return raydc.open(toy.folder.url).stream(BATCH, **options)


def rows(item: tuple[torch.Tensor, ...]) -> list[tuple[float, ...]]:
    """What tells the rows of a batch apart: their logits in the view of the epoch."""
    return [tuple(row) for row in item[3].tolist()]


def epoch_of(toy: toys.Toy, epoch: int, rank: int = 0, world: int = 1, seed: int = 0) -> list[list[tuple[float, ...]]]:
    batches = raydc.open(toy.folder.url).batches(epoch, BATCH, seed, rank, world)
    return [[tuple(row) for row in b.logits.tolist()] for b in batches]  # type: ignore[union-attr]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("world", [1, 2])
def test_ranks_and_workers_share_out_an_epoch_in_exact_global_batches(world: int, workers: int, toy: toys.Toy) -> None:
    shares = [[rows(b) for b in stream(toy, rank=r, world=world).loader(workers)] for r in range(world)]
    assert shares == [epoch_of(toy, 0, r, world) for r in range(world)]
    whole = epoch_of(toy, 0)
    assert [len(b) for b in whole] == [6, 6, 6, 5] and len({row for b in whole for row in b}) == COUNT
    for k, batch in enumerate(whole):
        assert sorted(batch) == sorted(row for share in shares for row in share[k])


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_follow_each_other_and_their_order_is_a_function_of_seed_and_epoch(workers: int, toy: toys.Toy) -> None:
    loader = stream(toy, seed=5).loader(workers)
    found = [[rows(b) for b in loader] for _ in range(3)]
    assert found == [epoch_of(toy, e, seed=5) for e in range(3)]
    assert found[0] != found[1] and found[0] != epoch_of(toy, 0, seed=6)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("after", [1, 3, 4, 6])
def test_a_resume_goes_on_with_the_next_batch(after: int, workers: int, toy: toys.Toy) -> None:
    """Whatever workers have made ready in advance, and with another number of them afterwards."""
    wanted = [b for e in range(2) for b in epoch_of(toy, e)]
    loader, found, state = stream(toy).loader(workers), [], {}
    while len(found) < after:
        for batch in loader:
            found.append(rows(batch))
            if len(found) == after:
                state = json.loads(json.dumps(loader.state_dict()))
                break
    again = stream(toy).loader(2 - workers)
    again.load_state_dict(state)
    while len(found) < len(wanted):
        found += [rows(b) for b in again]
    assert found == wanted


def test_torchs_own_loader_with_the_epoch_set(toy: toys.Toy) -> None:
    for workers in (0, 2):
        mine = stream(toy)
        loader = DataLoader(mine, batch_size=None, num_workers=workers)
        assert len(loader) == 4
        for epoch in (0, 1, 7):
            mine.set_epoch(epoch)
            assert [rows(b) for b in loader] == epoch_of(toy, epoch)


def test_what_was_skipped_is_not_read(toy: toys.Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, read = stream(toy), []
    gather = type(mine.data)._gather
    monkeypatch.setattr(type(mine.data), "_gather", lambda self, *a: read.append(a) or gather(self, *a))
    mine.load_state_dict({**mine.state_dict(), "done": 3})
    assert len(list(mine)) == len(read) == 1


def test_hard_labels_alone_give_images_and_labels(tmp_path: Any) -> None:
    toy = toys.build(str(tmp_path / "set"), labels=False)
    found = list(raydc.open(toy.folder.url).stream(5).loader())
    assert sum(len(y) for _, y in found) == 15 and found[0][0].shape == (5, 3, 16, 16)
    assert float(found[0][0].max()) <= 1 and np.isin(found[0][1].numpy(), [0, 1, 2]).all()


def test_another_order_is_not_resumed_and_other_options_are_refused(toy: toys.Toy) -> None:
    state = stream(toy, seed=1).state_dict()
    with pytest.raises(ConfigError, match="seed 1, here 0"):
        stream(toy).load_state_dict(state)
    with pytest.raises(ConfigError, match="every worker needs a row"):
        stream(toy, rank=0, world=7)
    with pytest.raises(ConfigError, match="shuffle"):
        stream(toy).loader(shuffle=True)
