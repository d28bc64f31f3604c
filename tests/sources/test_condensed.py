from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import toys

import raydc
from raydc.condense.views import render
from raydc.errors import ConfigError, DataError
from raydc.labels.views import column
from raydc.sources.batch import Batch
from raydc.sources.condensed import CondensedDataset
from raydc.sources.lru import ByteCache
from raydc.students.feed import steps_per_epoch


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> toys.Toy:
    return toys.build(str(tmp_path_factory.mktemp("toy") / "set"), shards=(8, 7, 8))


@pytest.fixture
def data(toy: toys.Toy) -> CondensedDataset:
    return raydc.open(toy.folder.url)


def test_rows_can_be_taken_in_any_order(toy: toys.Toy, data: CondensedDataset) -> None:
    wanted = np.array([22, 0, 9, 9, 8])
    images, labels = data.take(wanted)
    assert np.array_equal(images, toy.images[wanted]) and np.array_equal(labels, toy.labels[wanted])
    assert np.array_equal(data.shard(1), toy.images[8:15])


def joined(batches: list[Batch], name: str) -> np.ndarray:
    return np.concatenate([getattr(b, name) for b in batches])


def test_rows_are_what_was_stored(toy: toys.Toy, data: CondensedDataset) -> None:
    assert len(data) == 23 and data.classes == toys.CLASSES and data.image_size == 16 and data.views == 3
    for i in (0, 7, 8, 22):
        for view in range(3):
            image, label, record, logits = data.at(i, view)
            assert np.array_equal(image, toy.images[i]) and label == toy.labels[i]
            assert np.array_equal(record, toy.records[view, i])
            assert np.abs(logits - toy.logits[view, i]).max() < 0.05
    assert np.array_equal(data[3][2], toy.records[0, 3])
    for i, view in ((23, 0), (-1, 0), (0, 3)):
        with pytest.raises(IndexError):
            data.at(i, view)


@pytest.mark.parametrize("batch", [1, 4, 8, 23, 100])
def test_an_epoch_shows_every_row_once_with_its_own_view(toy: toys.Toy, data: CondensedDataset, batch: int) -> None:
    for epoch in (0, 1, 5):
        batches = list(data.batches(epoch, batch))
        index = joined(batches, "index")
        assert sorted(index) == list(range(23)) and {len(b.index) for b in batches[:-1]} <= {batch}
        shard = np.repeat([0, 1, 2], toy.shards)[index]
        view = (epoch + shard) % 3
        assert np.array_equal(joined(batches, "images"), toy.images[index])
        assert np.array_equal(joined(batches, "labels"), toy.labels[index])
        assert np.array_equal(joined(batches, "records"), toy.records[view, index])
        assert np.abs(joined(batches, "logits") - toy.logits[view, index]).max() < 0.05
        start = np.array([0, 8, 15])[shard]
        partner = start + column(toy.records[view, index], "partner")
        assert np.array_equal(joined(batches, "partners"), toy.images[partner])
        assert np.array_equal(joined(batches, "partner_labels"), toy.labels[partner])
        assert np.array_equal(joined(batches, "partner_records"), toy.records[view, partner])


@pytest.mark.parametrize(
    ("batch", "least", "sizes"),
    [
        (11, 2, [11, 12]),
        (11, 1, [11, 11, 1]),
        (5, 4, [5, 5, 5, 8]),
        (7, 2, [7, 7, 7, 2]),
        (22, 2, [23]),
        (40, 30, [23]),
    ],
)
def test_a_short_last_batch_joins_the_one_before(
    data: CondensedDataset, batch: int, least: int, sizes: list[int]
) -> None:
    batches, apart = list(data.batches(1, batch, least=least)), list(data.batches(1, batch))
    assert [len(b.index) for b in batches] == sizes == [len(b.whole) for b in batches]
    assert joined(batches, "index").tolist() == joined(apart, "index").tolist()
    assert np.array_equal(joined(batches, "records"), joined(apart, "records"))
    assert steps_per_epoch(23, batch) == len(list(data.batches(0, batch, least=2)))


def test_a_worker_without_a_row_may_be_lent_one(data: CondensedDataset) -> None:
    ranks = [list(data.batches(0, 7, rank=r, world=4, lend=True)) for r in range(4)]
    assert [len(rank[-1].index) for rank in ranks] == [1, 1, 1, 1]
    last = [rank[-1].index[0] for rank in ranks]
    assert last[2:] == [last[0], last[0]] and last[:2] == ranks[3][-1].whole.tolist()


@pytest.mark.parametrize("world", [2, 3, 4])
def test_global_batches_do_not_depend_on_the_number_of_workers(data: CondensedDataset, world: int) -> None:
    alone = list(data.batches(2, 9, seed=3))
    ranks = [list(data.batches(2, 9, seed=3, rank=r, world=world)) for r in range(world)]
    assert len({len(r) for r in ranks}) == 1
    for whole, *parts in zip(alone, *ranks, strict=True):
        for name in ("index", "images", "labels", "records", "logits", "partners", "partner_records"):
            for r, part in enumerate(parts):
                assert np.array_equal(part.whole, whole.index)
                assert np.array_equal(getattr(whole, name)[r::world], getattr(part, name)), name


def test_order_is_a_function_of_seed_and_epoch(data: CondensedDataset) -> None:
    def order(epoch: int, seed: int, shuffle: bool = True) -> list[int]:
        return joined(list(data.batches(epoch, 5, seed, shuffle=shuffle)), "index").tolist()

    assert order(0, 0) == order(0, 0) != order(1, 0) != order(0, 1)
    assert order(4, 0, shuffle=False) == list(range(23))


def test_an_epoch_can_begin_at_any_batch_and_reads_nothing_before_it(data: CondensedDataset) -> None:
    whole = list(data.batches(2, batch=5, seed=1))
    rest = list(data.batches(2, batch=5, seed=1, start=3))
    assert [b.index.tolist() for b in rest] == [b.index.tolist() for b in whole[3:]]
    assert all((a.images == b.images).all() for a, b in zip(rest, whole[3:], strict=True))
    assert not list(data.batches(2, batch=5, seed=1, start=len(whole)))


def test_a_worker_without_a_row_is_refused_before_the_epoch(data: CondensedDataset) -> None:
    for batch, world in ((2, 3), (11, 2), (0, 1)):  # 23 = 2 * 11 + 1: the last batch has one row
        with pytest.raises(ConfigError, match="every worker needs a row of every batch"):
            data.batches(0, batch, world=world)
    with pytest.raises(ConfigError, match="rank 2 of 2"):
        data.batches(0, 4, rank=2, world=2)


def test_the_cache_is_bounded_and_changes_nothing(toy: toys.Toy) -> None:
    large, small = raydc.open(toy.folder.url), raydc.open(toy.folder.url, cache_bytes=1)
    for one, other in zip(large.batches(0, 5), small.batches(0, 5), strict=True):
        assert np.array_equal(one.images, other.images) and np.array_equal(one.logits, other.logits)
    assert len(large._images) == 3 and len(small._images) == 1


def test_least_recently_used_goes_first() -> None:
    cache: ByteCache[str] = ByteCache(10)
    loads: list[str] = []

    def load(name: str) -> str:
        return cache.get(name, lambda: (loads.append(name) or name, 4))

    for name in "abacab":
        assert load(name) == name
    assert loads == ["a", "b", "c", "b"] and cache.used == 8


def test_it_travels_to_other_processes_without_its_cache(data: CondensedDataset) -> None:
    list(data.batches(0, 5))
    copy = pickle.loads(pickle.dumps(data))  # noqa: S301
    assert len(pickle.dumps(data)) < 20_000
    assert np.array_equal(next(copy.batches(1, 5)).images, next(data.batches(1, 5)).images)


def test_fewer_views_are_the_first_ones_shown_in_turn(toy: toys.Toy) -> None:
    data = raydc.open(toy.folder.url, views=2)
    assert data.views == 2
    for epoch in range(4):
        for batch in data.batches(epoch, 5):
            shard = np.searchsorted(np.cumsum(toy.shards), batch.index, side="right")
            assert np.array_equal(batch.records, toy.records[(epoch + shard) % 2, batch.index])
    with pytest.raises(ConfigError, match="4 views asked for, but label set 'soft' has 3"):
        raydc.open(toy.folder.url, views=4)


def test_drawn_views_are_a_function_of_seed_epoch_and_shard(toy: toys.Toy) -> None:
    data = raydc.open(toy.folder.url, draw="random")

    def shown(seed: int) -> list[int]:
        views = []
        for epoch in range(12):
            for batch in data.batches(epoch, 23, seed):
                shards = np.searchsorted(np.cumsum(toy.shards), batch.index, side="right")
                hits = [(toy.records[:, row] == batch.records[i]).all(1) for i, row in enumerate(batch.index)]
                of = {int(s): int(np.flatnonzero(h)[0]) for s, h in zip(shards, hits, strict=True)}
                views += [of[s] for s in sorted(of)]
        return views

    assert shown(0) == shown(0) != shown(1) and set(shown(0)) == {0, 1, 2}


def test_the_same_images_with_other_labels_are_decoded_once(toy: toys.Toy, data: CondensedDataset) -> None:
    list(data.batches(0, 5))
    other = data.labelled("soft", views=1, draw="random")
    assert other._images is data._images and other._labels is not data._labels and (data.views, other.views) == (3, 1)


def test_without_labels_the_caller_draws_its_own_views(tmp_path: Path) -> None:
    toys.build(str(tmp_path / "set"), labels=False)
    data = raydc.open(str(tmp_path / "set"))
    batch = next(data.batches(0, 4))
    assert batch.records is batch.logits is batch.partners is None and data.views == 0
    assert data[0][2] is data[0][3] is None
    with pytest.raises(DataError, match="has no label set"):
        data.loader(0, 4)


def test_the_loader_shows_what_the_teacher_saw(toy: toys.Toy, data: CondensedDataset) -> None:
    batch = next(data.batches(1, 6))
    x, labels, records, logits = next(data.loader(1, 6))
    torchlike = [torch.from_numpy(a).permute(0, 3, 1, 2) for a in (batch.images, batch.partners)]
    assert torch.equal(x, render(torchlike[0], batch.records, 16, torchlike[1], batch.partner_records))
    assert x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1
    assert labels.tolist() == batch.labels.tolist() and records.dtype == torch.int32
    assert np.array_equal(logits.numpy(), batch.logits)


def test_labels_made_with_another_sampler_are_not_rendered(tmp_path: Path) -> None:
    toy = toys.build(str(tmp_path / "set"))
    tree = toy.folder.read_json("raydc.json")
    tree["label_sets"]["soft"]["aug"]["sampler"] = "bicubic-v9"
    toy.folder.write_json("raydc.json", tree)
    with pytest.raises(DataError, match="labelled with sampler 'bicubic-v9', known is 'bilinear-v1'"):
        raydc.open(toy.folder.url).loader(0, 4)


@pytest.mark.parametrize("damage", ["flip", "cut", "labels", "longer"])
def test_damage_is_named_when_it_is_read(tmp_path: Path, damage: str) -> None:
    toy = toys.build(str(tmp_path / "set"), shards=(6,))
    name = "labels/soft/train-000000-v0000-0002.tar" if damage in ("labels", "longer") else "images/train-000000.tar"
    path = Path(toy.folder.url) / name
    raw = path.read_bytes()
    flipped = raw[:1000] + bytes([raw[1000] ^ 1]) + raw[1001:]
    path.write_bytes({"flip": flipped, "longer": raw + b"\0" * 512}.get(damage, raw[:700]))
    with pytest.raises(DataError, match=path.name):
        list(raydc.open(toy.folder.url).batches(0, 4))


def test_pictures_that_are_not_what_the_manifest_says_are_refused(tmp_path: Path) -> None:
    toy = toys.build(str(tmp_path / "set"), shards=(6,), labels=False)
    tree = toy.folder.read_json("raydc.json")
    for change, message in (
        ({"size": [8, 8]}, "00000000 is 16x16 pixels .height x width., expected 8x8"),
        ({"codec": "jpg"}, "lacks its .cls or .jpg"),
    ):
        toy.folder.write_json("raydc.json", {**tree, "images": {**tree["images"], **change}})
        with pytest.raises(DataError, match=message):
            raydc.open(toy.folder.url)[0]
