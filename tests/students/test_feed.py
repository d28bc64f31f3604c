"""What a student sees of a condensed data set, and what it is held against."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import Toy, build, write_labels

from raydc.condense.views import render
from raydc.config.axes.views import CutMix, MixUp, RandAugment, Views
from raydc.config.stages.evaluate import KL, MseCe, Renormalized, Stepped
from raydc.errors import DataError
from raydc.keys import Key
from raydc.labels.views import column, draw
from raydc.sources.condensed import CondensedDataset
from raydc.store import manifest as manifests
from raydc.store.folder import Folder
from raydc.students.feed import RealImages, StudentFeed

SIDE = 16


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return build(str(tmp_path_factory.mktemp("toy") / "soft"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> CondensedDataset:
    return CondensedDataset(build(str(tmp_path_factory.mktemp("toy") / "bare"), labels=False).folder.url)


def feed(data: object, labels: str, **more: object) -> StudentFeed:
    settings = {"batch": 6, "seed": 0, "size": SIDE, "views": Views(), "loss": KL()} | more
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
    assert shares[0].target.temperature == 20.0 and not shares[0].target.squared


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
        feed(data, "soft")._share(next(data.batches(0, 6, logits=False)), 0)


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


@pytest.mark.parametrize("label", ["base", "mixed"])
def test_regression_has_the_teachers_logits_and_a_class(toy: Toy, label: str) -> None:
    data = CondensedDataset(toy.folder.url)
    loss = MseCe(use="mse_ce", gamma=0.3, label=label)
    for share, soft, batch in zip(feed(data, "soft", loss=loss)(1), feed(data, "soft")(1), data.batches(1, 6),
                                  strict=True):  # fmt: skip
        assert torch.equal(share.x01, soft.x01) and torch.equal(share.target.logits, soft.target.logits)
        hard = share.target.hard
        assert share.target.gamma == 0.3 and hard.labels.tolist() == batch.labels.tolist()
        assert (hard.partners is None) == (label == "base")
        if label == "mixed":
            assert hard.partners.tolist() == batch.partner_labels.tolist()


def test_drawn_views_are_labelled_anew_in_every_epoch(bare: CondensedDataset) -> None:
    """The same views for soft and hard targets, and another look at each image every time."""
    views = Views(min_scale=0.3, mix=MixUp(use="mixup"), shuffle=2, randaugment=RandAugment())
    soft = feed(bare, "soft", views=views, labeller=lambda x: x.mean((2, 3)))
    epochs = {e: list(soft(e)) for e in (0, 1, 0)}
    for share in itertools.chain(*epochs.values()):
        assert torch.equal(share.target.logits, share.x01.mean((2, 3)))
    pixels = torch.cat([share.x01 for shares in epochs.values() for share in shares]).flatten(1)
    assert len({tuple(p.tolist()) for p in pixels}) == 2 * len(bare)
    hard = list(feed(bare, "hard", views=views)(1))
    assert all(torch.equal(one.x01, other.x01) for one, other in zip(hard, epochs[1], strict=True))
    assert all(share.target.partners is not None for share in hard)


class Pictures:
    """What :class:`RealImages` is made of, without files."""

    def __init__(self, toy: Toy) -> None:
        self.pixels, self.labels = torch.from_numpy(toy.images).permute(0, 3, 1, 2), toy.labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> torch.Tensor:
        return self.pixels[torch.from_numpy(rows)]


@pytest.mark.parametrize("kind", ["stored", "bare", "real"])
@pytest.mark.parametrize("world", [2, 4])
def test_ranks_see_together_what_one_worker_sees(toy: Toy, bare: CondensedDataset, kind: str, world: int) -> None:
    """Records, partners, targets and all; the last batch of three rows has none for the fourth of four ranks."""
    data = {"stored": CondensedDataset(toy.folder.url), "bare": bare, "real": RealImages(Pictures(toy))}[kind]
    labels, views = "soft" if kind == "stored" else "hard", Views(min_scale=0.4, mix=CutMix(use="cutmix"))
    whole = [s for e in range(2) for s in feed(data, labels, views=views)(e)]
    ranks = [[s for e in range(2) for s in feed(data, labels, views=views, rank=r, world=world)(e)]
             for r in range(world)]  # fmt: skip
    assert [s.rows for s in whole] == [6, 6, 3] * 2
    for share, *parts in zip(whole, *ranks, strict=True):
        for r, part in enumerate(parts):
            assert part.rows == share.rows and part.lent == (r >= share.rows)
            mine = slice(r, None, world) if not part.lent else slice(0, 1)
            assert torch.equal(part.x01, share.x01[mine])
            names = ("logits",) if labels == "soft" else ("labels", "partners", "kept")
            assert all(torch.equal(getattr(part.target, n), getattr(share.target, n)[mine]) for n in names)


@pytest.mark.parametrize("mix", [CutMix(use="cutmix"), MixUp(use="mixup")])
def test_stored_views_of_every_kind_are_what_was_labelled(tmp_path: Path, mix: CutMix | MixUp) -> None:
    views = Views(mix=mix, shuffle=2, randaugment=RandAugment(magnitude=20))
    toy = build(str(tmp_path / "rich"), labels=False)
    records = np.concatenate(
        [np.stack([draw(Key((9, s, v)), n, SIDE, SIDE, SIDE, views) for v in range(2)])
         for s, n in enumerate(toy.shards)], axis=1)  # fmt: skip
    logits = Key((9, "logits")).normal(2, len(toy.images), 3)
    manifest = manifests.read(toy.folder)
    manifests.add_label_set(toy.folder, "rich", write_labels(toy.folder, manifest, records, logits, "rich"))
    share = next(iter(feed(CondensedDataset(toy.folder.url), "soft")(0)))
    pixels, border = torch.from_numpy(toy.images).permute(0, 3, 1, 2), toy.shards[0]
    whole = []
    for rows, view in ((slice(0, border), 0), (slice(border, None), 1)):
        mine = records[view, rows]
        partner = column(mine, "partner").astype(int)
        whole.append(render(pixels[rows], mine, SIDE, pixels[rows][partner], mine[partner]))
    for image in share.x01:
        assert (torch.cat(whole) == image).all((1, 2, 3)).sum() == 1


def test_labels_of_another_sampler_are_refused(tmp_path: Path) -> None:
    toy = build(str(tmp_path / "d"))
    tree = toy.folder.read_json("raydc.json")
    tree["label_sets"]["soft"]["aug"]["sampler"] = "bicubic-v9"
    toy.folder.write_json("raydc.json", tree)
    with pytest.raises(DataError, match="labelled with sampler 'bicubic-v9', known is 'bilinear-v1'"):
        feed(CondensedDataset(toy.folder.url, "soft"), "soft")


def test_a_data_set_of_one_more_than_a_batch_trains(tmp_path: Path) -> None:
    data = CondensedDataset(build(str(tmp_path / "d"), shards=(8, 5)).folder.url)
    assert [s.rows for s in feed(data, "hard")(0)] == [6, 7]
    assert [s.rows for s in feed(data, "soft", batch=12)(0)] == [13]


def test_stored_labels_are_opened_on_the_device_at_the_temperature_of_the_epoch(tmp_path: Path) -> None:
    toy = build(str(tmp_path / "set"))
    stored = write_labels(toy.folder, manifests.read(toy.folder), toy.records, toy.logits, "best", "top_k", k=1)
    manifests.add_label_set(toy.folder, "best", stored)
    data = CondensedDataset(toy.folder.url, "best")
    loss = KL(temperature=Stepped(start=8, factor=0.5, every=1, least=1), student=1.0)
    for epoch, temperature in ((0, 8.0), (2, 2.0)):
        for share, batch in zip(
            feed(data, "soft", loss=loss)(epoch), data.batches(epoch, 6, logits="encoded"), strict=True
        ):
            assert (share.target.temperature, share.target.student) == (temperature, 1.0)
            expected = data.codec.decode(batch.encoded, 3, temperature)
            assert np.array_equal(share.target.logits.numpy(), expected)
    alone = KL(target=Renormalized(use="renormalized", k=2))
    share, batch = next(iter(feed(data, "soft", loss=alone)(0))), next(data.batches(0, 6))
    assert np.array_equal(share.target.logits.numpy(), batch.logits) and share.target.rule == alone.target
