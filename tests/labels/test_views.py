from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from raydc.config.axes.views import CutMix, Mix, MixUp, RandAugment, Views
from raydc.errors import ConfigError, DataError
from raydc.keys import Key
from raydc.labels import views
from raydc.labels.views import CUTMIX, MIXUP, NO_PARTNER, OPERATIONS, PLAIN, column, mix_of

KEY = Key((0, "test"))
MIXED = Views(mix=CutMix(use="cutmix"))


@pytest.mark.parametrize(
    ("min_scale", "mean_area", "whole"),
    [
        (0.99, 0.998, 0.71),
        (0.95, 0.978, 0.33),
        (0.90, 0.942, 0.11),
        (0.80, 0.868, 0.008),
        (0.50, 0.693, 0),
        (0.08, 0.480, 0),
    ],
)
def test_accepted_areas_follow_the_published_table(min_scale: float, mean_area: float, whole: float) -> None:
    boxes = views.resized_crop_boxes(KEY.child(str(min_scale)), 20_000, 224, 224, min_scale)
    areas = boxes[:, 2] * boxes[:, 3] / 224**2
    assert abs(areas.mean() - mean_area) < 0.004
    # The table counts the fallback; a proposal that rounds to the whole image looks the same.
    assert whole - 0.01 < (areas == 1).mean() < whole + 0.04


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [
        (224, 224, (0.08, 1.0)),
        (64, 64, (0.95, 1.0)),
        (60, 300, (0.9, 1.0)),
        (300, 60, (0.9, 1.0)),
        (90, 100, (0.5, 0.6)),
    ],
)
def test_boxes_are_those_of_torchvision_given_the_same_draws(
    height: int, width: int, scale: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    count, ratio = 60, (3 / 4, 4 / 3)
    mine = views.resized_crop_boxes(KEY, count, height, width, *scale, ratio)
    draws = KEY.uniform(count, views.TRIES, 4)
    place: list[int] = [0, 0, 0]  # image, attempt, column

    def uniform(tensor: torch.Tensor, low: float, high: float) -> torch.Tensor:
        place[2] = (place[2] + 1) % 2
        if place[2] == 1:
            place[1] += 1
        value = draws[place[0], place[1], 1 - place[2]]
        return torch.tensor([float(low) + (float(high) - float(low)) * value], dtype=torch.float64)

    def randint(low: int, high: int, size: tuple[int]) -> torch.Tensor:
        place[2] += 1
        value = draws[place[0], place[1], 1 + place[2]]
        return torch.tensor([low + math.floor(value * (high - low))])

    monkeypatch.setattr(torch.Tensor, "uniform_", uniform)
    monkeypatch.setattr(torch, "randint", randint)
    image = torch.zeros(3, height, width)
    for i in range(count):
        place[:] = [i, -1, 0]
        assert RandomResizedCrop.get_params(image, list(scale), list(ratio)) == tuple(mine[i])


def test_a_box_does_not_depend_on_how_many_are_drawn() -> None:
    few, many = (views.resized_crop_boxes(KEY, n, 32, 32, 0.08) for n in (3, 50))
    assert np.array_equal(few, many[:3])


def test_records_stay_inside_image_and_view() -> None:
    records = views.draw(KEY, 500, 40, 50, 32, MIXED)
    views.check(records, 500, 40, 50)
    top, left, h, w = (column(records, f"box_{s}").astype(int) for s in ("top", "left", "h", "w"))
    assert (top + h <= 32).all() and (left + w <= 32).all()
    kept = 1 - h * w / 32**2
    assert np.abs(column(records, "lam") / 65535 - kept).max() < 1e-5
    assert set(column(records, "flip").tolist()) == {0, 1}


def test_partners_are_a_permutation_of_the_shard() -> None:
    records = views.draw(KEY, 100, 32, 32, 32, MIXED)
    assert (column(records, "op") == CUTMIX).all()
    assert sorted(column(records, "partner").tolist()) == list(range(100))


def test_unmixed_records_are_neutral_and_flips_obey_their_probability() -> None:
    records = views.draw(KEY, 50, 32, 32, 32, Views(flip=0))
    assert (column(records, "op") == PLAIN).all() and (column(records, "partner") == NO_PARTNER).all()
    assert (column(records, "lam") == 65535).all() and not column(records, "flip").any()
    assert column(views.draw(KEY, 50, 32, 32, 32, Views(flip=1)), "flip").all()


def test_mixup_records_weigh_without_a_box() -> None:
    records = views.draw(KEY, 400, 32, 32, 32, Views(mix=MixUp(use="mixup", alpha=0.8)))
    views.check(records, 400, 32, 32)
    assert (mix_of(records) == MIXUP).all() and not records[:, 8:].any()
    assert sorted(column(records, "partner").tolist()) == list(range(400))
    kept = column(records, "lam") / 65535
    assert abs(kept.mean() - 0.5) < 0.05 and abs(kept.var() - 1 / (4 * 2.6)) < 0.02


@pytest.mark.parametrize("mix", [None, CutMix(use="cutmix"), MixUp(use="mixup")])
def test_looks_are_packed_beside_the_flip(mix: Mix | None) -> None:
    plain = views.draw(KEY, 3000, 32, 32, 32, Views(mix=mix))
    rich = views.draw(KEY, 3000, 32, 32, 32, Views(mix=mix, shuffle=2, randaugment=RandAugment(ops=2, magnitude=17)))
    views.check(rich, 3000, 32, 32)
    assert np.array_equal(mix_of(rich), column(plain, "op"))
    assert np.array_equal(views.flips_of(rich), column(plain, "flip") != 0)
    assert np.array_equal(rich[:, [*range(1, 5), *range(6, 12)]], plain[:, [*range(1, 5), *range(6, 12)]])
    assert np.abs(views.halves_of(rich).mean(0) - 0.5).max() < 0.04
    operations, magnitudes = views.operations_of(rich)
    for slot in range(2):
        shares = np.bincount(operations[:, slot], minlength=len(OPERATIONS)) / 3000
        assert len(shares) == 14 and np.abs(shares - 1 / 14).max() < 0.02
    assert set(np.unique(magnitudes).tolist()) == {-17, 17}
    assert not views.halves_of(plain).any() and not np.array(views.operations_of(plain)).any()


def test_one_operation_leaves_the_second_place_empty() -> None:
    records = views.draw(KEY, 50, 32, 32, 32, Views(randaugment=RandAugment(ops=1, magnitude=0)))
    views.check(records, 50, 32, 32)
    operations, magnitudes = views.operations_of(records)
    assert operations[:, 0].any() and not operations[:, 1].any() and not magnitudes.any()


def test_readers_of_before_refuse_what_they_would_misread() -> None:
    """They know op 0 and 1, and take any other number in ``flip`` for a mirror image."""
    for rich in (Views(shuffle=2), Views(randaugment=RandAugment(magnitude=0)), Views(mix=MixUp(use="mixup"))):
        assert (column(views.draw(KEY, 50, 32, 32, 32, rich), "op") > CUTMIX).all()


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 3.0])
def test_lambda_is_beta_distributed(alpha: float) -> None:
    lam = views._beta(KEY.child(str(alpha)), 50_000, alpha)
    assert abs(lam.mean() - 0.5) < 0.006
    assert abs(lam.var() - 1 / (4 * (2 * alpha + 1))) < 0.003
    if alpha == 1.0:  # uniform: the largest distance of the empirical distribution from the line
        assert np.abs(np.sort(lam) - (np.arange(50_000) + 0.5) / 50_000).max() < 0.01


def test_draws_are_a_function_of_the_key() -> None:
    one, same, other = (views.draw(Key((1, "v", n)), 20, 32, 32, 32, MIXED) for n in (0, 0, 1))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_drawn_records_have_golden_bytes() -> None:
    records = views.draw(Key((0, "golden")), 64, 224, 224, 224, MIXED)
    assert hashlib.sha256(records.tobytes()).hexdigest() == (
        "f79650145029f0f334d1f8bf4b08b031edaabdb9b6e4460e7caccb03791b5d0c"
    )


def test_sides_that_do_not_fit_a_record_are_refused() -> None:
    with pytest.raises(ConfigError, match="width is 65535"):
        views.draw(KEY, 1, 32, 65535, 32, Views())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("op", 3), "record 3 has op 3 and flip [01], which.*Update raydc"),
        (("op", 2 + (40 << 8)), "record 3 has op 10242"),
        (("flip", 4), "record 3 has op 1 and flip 4"),
        (("partner", 10), "names partner row 10, but the shard has 10 rows"),
        (("partner", NO_PARTNER), "partner row 65535"),
        (("crop_h", 33), "crops .*33.*32x32"),
        (("crop_w", 0), "crops"),
    ],
)
def test_records_that_cannot_be_replayed_are_refused(change: tuple[str, int], message: str) -> None:
    records = views.draw(KEY, 10, 32, 32, 32, MIXED)
    column(records, change[0])[3] = change[1]
    with pytest.raises(DataError, match=message):
        views.check(records, 10, 32, 32)


def test_records_of_another_type_are_refused() -> None:
    with pytest.raises(DataError, match="expected uint16"):
        views.check(np.zeros((3, 12), dtype=np.int64), 3)
