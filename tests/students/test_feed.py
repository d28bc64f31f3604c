"""What a student sees of a condensed data set, and what it is held against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from toys import Toy, build

from raydc.condense.views import render
from raydc.config.components import CutMix, Views
from raydc.errors import DataError
from raydc.keys import Key
from raydc.labels.views import column
from raydc.sources.condensed import Batch, CondensedDataset
from raydc.store.folder import Folder
from raydc.students.feed import StudentFeed, steps_per_epoch, without_single

SIDE = 16


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return build(str(tmp_path_factory.mktemp("toy") / "soft"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> CondensedDataset:
    return CondensedDataset(build(str(tmp_path_factory.mktemp("toy") / "bare"), labels=False).folder.url)


def feed(data: object, labels: str, **more: object) -> StudentFeed:
    settings = {"batch": 6, "seed": 0, "size": SIDE, "views": Views(), "temperature": 20.0} | more
    return StudentFeed(data, labels, Key((0, "views")), **settings)


@pytest.mark.parametrize("epoch", [0, 4])
def test_soft_targets_belong_to_the_views_the_teacher_saw(toy: Toy, epoch: int) -> None:
    data = CondensedDataset(toy.folder.url)
    shares, batches = list(feed(data, "soft")(epoch)), list(data.batches(epoch, 6))
    assert [s.rows for s in shares] == [6, 6, 3]
    for share, batch in zip(shares, batches, strict=True):
        for i, row in enumerate(batch.index):
            shard = int(row >= toy.shards[0])
            start = shard * toy.shards[0]
            view = (epoch + shard) % len(toy.records)
            record = toy.records[view, row : row + 1]
            partner = start + column(record, "partner").astype(int)
            pixels = torch.from_numpy(toy.images).permute(0, 3, 1, 2)
            expected = render(pixels[row : row + 1], record, SIDE, pixels[partner], toy.records[view, partner])
            assert torch.equal(share.x01[i], expected[0])
            assert np.allclose(share.target.logits[i], toy.logits[view, row], atol=0.05)
    assert shares[0].target.temperature == 20.0


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_epochs_of_any_length_are_windows_on_one_stream(toy: Toy, steps: int) -> None:
    data = CondensedDataset(toy.folder.url)
    stream = [share for epoch in range(6) for share in feed(data, "soft")(epoch)][: 2 * steps]
    going_on, fresh = feed(data, "soft", steps=steps), feed(data, "soft", steps=steps)
    found = [*going_on(0), *going_on(1)]
    assert [torch.equal(a.x01, b.x01) for a, b in zip(found, stream, strict=True)] == [True] * (2 * steps)
    assert all(torch.equal(a.x01, b.x01) for a, b in zip(fresh(1), stream[steps:], strict=True))


def test_hard_targets_see_the_same_views_and_mix_both_classes(toy: Toy) -> None:
    data = CondensedDataset(toy.folder.url)
    for soft, hard, batch in zip(feed(data, "soft")(1), feed(data, "hard")(1), data.batches(1, 6), strict=True):
        assert torch.equal(soft.x01, hard.x01)
        assert hard.target.labels.tolist() == batch.labels.tolist()
        assert hard.target.partners.tolist() == batch.partner_labels.tolist()
        assert np.allclose(hard.target.kept, column(batch.records, "lam") / 65535)


def test_hard_targets_read_no_logits(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    data, read = CondensedDataset(toy.folder.url), []
    ranges = Folder.ranges
    monkeypatch.setattr(Folder, "ranges", lambda *a: read.extend(s for _, s in a[2]) or ranges(*a))
    list(feed(data, "hard")(1))
    assert read and max(read) <= 128 + max(toy.shards) * 24
    with pytest.raises(DataError, match="no soft labels"):
        feed(data, "soft")._share(next(data.batches(0, 6, logits=False)))


def test_views_are_drawn_where_none_are_stored(bare: CondensedDataset) -> None:
    whole = Views(min_scale=1.0, flip=0.0)
    mixed = feed(bare, "hard", views=whole.model_copy(update={"mix": CutMix(use="cutmix")}))
    first = list(feed(bare, "hard", views=whole)(0))
    for share, batch, other in zip(first, bare.batches(0, 6), mixed(0), strict=True):
        images = torch.from_numpy(batch.images).permute(0, 3, 1, 2) / 255
        assert torch.allclose(share.x01, images, atol=0.02)
        assert share.target.partners is None
        kept = (other.x01 == share.x01).all(1).float().mean((1, 2))
        assert (kept >= other.target.kept - 1e-3).all() and (other.target.kept < 1).any()
    again = list(feed(bare, "hard", views=Views())(2))
    assert all(torch.equal(a.x01, b.x01) for a, b in zip(again, feed(bare, "hard", views=Views())(2), strict=True))
    assert not torch.equal(again[0].x01, next(iter(feed(bare, "hard", views=Views())(3))).x01)


def test_a_teacher_can_label_what_is_not_stored(bare: CondensedDataset) -> None:
    share = next(iter(feed(bare, "soft", labeller=lambda x: x.mean((2, 3)))(0)))
    assert torch.equal(share.target.logits, share.x01.mean((2, 3)))
    with pytest.raises(DataError, match="no soft labels and no teacher"):
        next(iter(feed(bare, "soft")(0)))


def test_labels_of_another_sampler_are_refused(toy: Toy) -> None:
    data = CondensedDataset(toy.folder.url)
    changed = data.manifest.label_sets["soft"].aug.model_copy(update={"sampler": "bicubic-v9"})
    label_set = data.manifest.label_sets["soft"].model_copy(update={"aug": changed})
    data.manifest = data.manifest.model_copy(update={"label_sets": {"soft": label_set}})
    with pytest.raises(DataError, match="made with sampler 'bicubic-v9', known is 'bilinear-v1'"):
        feed(data, "soft")


def numbered(*sizes: int) -> list[Batch]:
    starts = np.cumsum([0, *sizes])
    return [Batch(np.arange(a, b), np.zeros((b - a, 2, 2, 3), np.uint8), np.arange(a, b))
            for a, b in zip(starts, starts[1:], strict=False)]  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "joined"), [((4, 4, 1), (4, 5)), ((4, 4), (4, 4)), ((4, 4, 2), (4, 4, 2)), ((1,), (1,)), ((4, 1), (5,))]
)
def test_a_single_last_image_joins_the_batch_before(sizes: tuple[int, ...], joined: tuple[int, ...]) -> None:
    batches = list(without_single(numbered(*sizes)))
    assert tuple(len(b.labels) for b in batches) == joined
    assert np.concatenate([b.index for b in batches]).tolist() == list(range(sum(sizes)))
    assert steps_per_epoch(sum(sizes), 4) == len(joined)


def test_a_data_set_of_one_more_than_a_batch_trains(tmp_path: Path) -> None:
    data = CondensedDataset(build(str(tmp_path / "d"), shards=(8, 5)).folder.url)
    assert [s.rows for s in feed(data, "hard")(0)] == [6, 7]
    assert [s.rows for s in feed(data, "soft", batch=12)(0)] == [13]
