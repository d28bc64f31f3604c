"""Real images dealt into batches by keys."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raydc.config.axes.optimize import Sgd
from raydc.config.axes.views import CutMix, MixUp, RandAugment, Views
from raydc.config.stages.squeeze import TrainConfig
from raydc.errors import DataError
from raydc.keys import Key
from raydc.sources.base import Source
from raydc.teachers.feed import (
    Images,
    TeacherFeed,
    ahead,
    batch_cuts,
    cut_out,
    global_batches,
    shifted,
    squares,
    whole_batches,
)

from .real import SIDE, picture, real_source

WHOLE = Views(min_scale=1.0, flip=0.0)
MIXED = Views(mix=CutMix(use="cutmix"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return real_source(tmp_path_factory.mktemp("real"))


RICH = Views(mix=MixUp(use="mixup"), shuffle=2, randaugment=RandAugment())


def recipe(views: Views, pad: int = 0, batch: int = 8, cutout: float = 0.0) -> TrainConfig:
    return TrainConfig(epochs=2, batch=batch, optimizer=Sgd(use="sgd", lr=0.1), views=views, pad=pad, cutout=cutout)


def test_images_are_decoded_once_where_they_fit(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = Source.image
    monkeypatch.setattr(Source, "image", lambda self, split, i: calls.append(i) or original(self, split, i))
    kept, loose = Images(source, source.train), Images(source, source.train, budget=100)
    rows = np.array([12, 0, 12, 30])
    expected = torch.stack([torch.from_numpy(picture(r // 11, r % 11)).permute(2, 0, 1) for r in rows])
    for _ in range(2):
        assert torch.equal(kept.take(rows), expected)
    assert sorted(calls) == [0, 12, 12, 30] or sorted(calls) == [0, 12, 30]
    calls.clear()
    for _ in range(2):
        assert torch.equal(loose.take(rows), expected)
    assert len(calls) == 8


def test_an_epoch_shows_every_image_once_in_a_keyed_order() -> None:
    batches = global_batches(Key((1,)), 21, 8)
    assert [len(b) for b in batches] == [8, 8, 5]
    assert sorted(np.concatenate(batches).tolist()) == list(range(21))
    assert batch_cuts(21, 8) == [8, 16]
    assert [b.tolist() for b in batches] == [b.tolist() for b in global_batches(Key((1,)), 21, 8)]
    assert [b.tolist() for b in batches] != [b.tolist() for b in global_batches(Key((2,)), 21, 8)]


def test_a_last_batch_without_statistics_joins_the_one_before() -> None:
    assert [len(b) for b in global_batches(Key((1,)), 17, 8)] == [8, 9]
    assert [len(b) for b in global_batches(Key((1,)), 18, 8)] == [8, 8, 2]
    assert [len(b) for b in global_batches(Key((1,)), 5, 8)] == [5]
    with pytest.raises(DataError, match="a data set of 1 images has no statistics"):
        global_batches(Key((1,)), 1, 8)


def test_a_rank_without_a_row_lends_one(source: Source) -> None:
    images = Images(source, source.train)
    whole = list(TeacherFeed(images, recipe(MIXED, batch=31), Key((1,)))(0))
    ranks = [list(TeacherFeed(images, recipe(MIXED, batch=31), Key((1,)), rank=r, world=4)(0)) for r in range(4)]
    assert [s.rows for s in whole] == [31, 2]
    assert [[s.lent for s in rank] for rank in ranks] == [[False, False]] * 2 + [[False, True]] * 2
    for r in range(4):
        assert torch.equal(ranks[r][1].x01, whole[1].x01[[0, 1, 0, 0][r]][None])


@pytest.mark.parametrize(
    "config",
    [recipe(WHOLE, cutout=0.5), recipe(Views(), pad=2), recipe(MIXED), recipe(MIXED, pad=1), recipe(RICH, cutout=0.3)],
)
def test_global_batches_do_not_depend_on_the_number_of_ranks(source: Source, config: TrainConfig) -> None:
    images = Images(source, source.train)
    whole = list(TeacherFeed(images, config, Key((1,)))(3))
    ranks = [list(TeacherFeed(images, config, Key((1,)), rank=r, world=2, threads=1 + r)(3)) for r in range(2)]
    assert [s.rows for s in whole] == [8, 8, 8, 9]
    for share, *parts in zip(whole, *ranks, strict=True):
        for r, part in enumerate(parts):
            assert part.rows == share.rows
            assert torch.equal(part.x01, share.x01[r::2])
            assert torch.equal(part.target.labels, share.target.labels[r::2])
            if config.views.mix:
                assert torch.equal(part.target.partners, share.target.partners[r::2])
                assert torch.equal(part.target.kept, share.target.kept[r::2])


def test_epochs_differ_and_repeat(source: Source) -> None:
    feed = TeacherFeed(Images(source, source.train), recipe(Views()), Key((1,)))
    one, again, other = (next(iter(feed(e))).x01 for e in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_whole_views_are_the_images_with_their_labels(source: Source) -> None:
    for share in TeacherFeed(Images(source, source.train), recipe(WHOLE), Key((1,)))(0):
        assert torch.equal(share.x01.mean((2, 3)).argmax(1), share.target.labels)
        assert ((share.x01 * 255).round() / 255 - share.x01).abs().max() < 1e-6


def test_mixed_labels_carry_the_kept_area(source: Source) -> None:
    images = Images(source, source.train)
    mixed = next(iter(TeacherFeed(images, recipe(WHOLE.model_copy(update={"mix": MIXED.mix})), Key((1,)))(0)))
    plain = next(iter(TeacherFeed(images, recipe(WHOLE), Key((1,)))(0)))
    kept = (mixed.x01 == plain.x01).all(1).float().mean((1, 2))
    assert torch.allclose(kept, mixed.target.kept, atol=0.02)
    assert torch.equal(mixed.target.labels, plain.target.labels)


def test_mixed_up_labels_carry_the_weight_of_the_image(source: Source) -> None:
    images, mix = Images(source, source.train), MixUp(use="mixup", alpha=1.0)
    mixed = next(iter(TeacherFeed(images, recipe(WHOLE.model_copy(update={"mix": mix})), Key((1,)))(0)))
    plain = next(iter(TeacherFeed(images, recipe(WHOLE), Key((1,)))(0)))
    labels, kept = plain.target.labels, mixed.target.kept
    for view, own, image, other in zip(mixed.x01, kept, plain.x01, mixed.target.partners, strict=True):
        of_class = plain.x01[labels == other]
        assert ((own * image + (1 - own) * of_class - view).abs().amax((1, 2, 3)) < 1e-5).any()
    assert torch.equal(mixed.target.labels, labels) and 0 < kept.min() < kept.max() < 1


def test_a_square_of_one_colour_is_cut_out(source: Source) -> None:
    images = Images(source, source.train)
    plain, cut = (next(iter(TeacherFeed(images, recipe(WHOLE, cutout=c), Key((1,)))(0))) for c in (0.0, 0.5))
    changed = (plain.x01 != cut.x01).any(1)
    areas = changed.float().mean((1, 2))
    assert (areas > 0).all() and areas.max() <= 0.25 + 1e-6
    for before, after, where in zip(plain.x01, cut.x01, changed, strict=True):
        assert torch.equal(before[:, ~where], after[:, ~where])
        assert (after[:, where] == after[:, where][:, :1]).all()
        rows, columns = where.any(1).nonzero().flatten(), where.any(0).nonzero().flatten()
        assert where[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert torch.equal(plain.target.labels, cut.target.labels)


def test_squares_are_clipped_at_the_border() -> None:
    borders, colours = squares(Key((1,)), 500, 0.5, 16)
    sides = borders[:, 2:] - borders[:, :2]
    assert borders.min() == 0 and borders.max() == 16 and sides.max() == 8 and sides.min() == 4
    assert colours.min() >= 0 and colours.max() < 1 and colours.shape == (500, 3)
    views = torch.zeros(1, 3, 4, 4)
    cut_out(
        views, np.array([[9, 9, 9, 9], [1, 0, 3, 2]]), np.array([[0, 0, 0], [1, 0.5, 0]], np.float32), np.array([1])
    )
    assert views[0, 0].tolist() == [[0] * 4, [1, 1, 0, 0], [1, 1, 0, 0], [0] * 4] and views[0, 1].max() == 0.5


def test_a_shift_moves_the_image_over_black() -> None:
    image = torch.arange(1, 26, dtype=torch.uint8).reshape(1, 1, 5, 5).expand(3, 3, 5, 5)
    out = shifted(image, np.array([[2, 2], [0, 2], [4, 3]]), 2)
    assert torch.equal(out[0], image[0])
    assert torch.equal(out[1, :, 2:], image[0, :, :3]) and out[1, :, :2].max() == 0
    assert torch.equal(out[2, :, :3, :4], image[0, :, 2:, 1:]) and out[2, :, 3:].max() == 0


def test_test_images_come_whole_and_once(source: Source) -> None:
    images = Images(source, source.validation)
    parts = [list(whole_batches(images, 5, rank=r, world=2)) for r in range(2)]
    assert [len(y) for _, y in parts[0]] == [5, 1]
    labels = torch.cat([y for part in parts for _, y in part])
    assert labels.bincount().tolist() == [4, 4, 4]
    x = parts[0][0][0]
    assert x.shape[1:] == (3, SIDE, SIDE) and x.min() >= 0 and x.max() <= 1


@pytest.mark.parametrize("threads", [1, 3])
def test_jobs_run_ahead_keep_their_order_and_their_errors(threads: int) -> None:
    assert list(ahead([lambda i=i: i for i in range(10)], threads)) == list(range(10))
    with pytest.raises(ZeroDivisionError):
        list(ahead([lambda: 1, lambda: 1 // 0, lambda: 2], threads))
