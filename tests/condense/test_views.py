"""The batched sampler shows what F.interpolate shows, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raydc.condense.randaugment import operate
from raydc.condense.views import look, render
from raydc.config.axes.views import CutMix, Mix, MixUp, RandAugment, Views
from raydc.keys import Key
from raydc.labels.views import CUTMIX, PLAIN, column, draw, halves_of, operations_of


def noise(count: int, side: int, name: str = "pixels") -> torch.Tensor:
    return torch.from_numpy(Key((name, side)).integers(0, 256, count, 3, side, side).astype(np.uint8))


def one_by_one(images: torch.Tensor, records: np.ndarray, size: int) -> torch.Tensor:
    """The definition: crop, torch's bilinear interpolation, mirror."""
    out = []
    for image, record in zip(images, records, strict=True):
        top, left, height, width = (int(column(record, f"crop_{s}")) for s in ("top", "left", "h", "w"))
        crop = image[None, :, top : top + height, left : left + width].float() / 255
        view = F.interpolate(crop, size=(size, size), mode="bilinear", align_corners=False)
        out.append(view.flip(-1) if column(record, "flip") else view)
    return torch.cat(out)


@pytest.mark.parametrize(("side", "size", "count"), [(32, 32, 40), (33, 20, 9), (20, 48, 9), (224, 224, 4)])
def test_a_view_is_torchs_bilinear_crop(side: int, size: int, count: int) -> None:
    images, records = noise(count, side), draw(Key((1, side)), count, side, side, size, Views())
    assert (look(images, records, size) - one_by_one(images, records, size)).abs().max() < 1e-4


def test_extreme_crops_do_not_see_beyond_their_edge() -> None:
    images = torch.full((2, 3, 16, 16), 255, dtype=torch.uint8)
    images[:, :, 4:6, 7:8] = 0
    records = draw(Key((1,)), 2, 16, 16, 16, Views())
    records[:, 1:6] = [[4, 7, 2, 1, 0], [0, 0, 4, 7, 1]]
    views = look(images, records, 16)
    assert views[0].max() == 0
    assert views[1].min() == 1


def test_a_whole_image_is_copied_exactly() -> None:
    images = noise(6, 224)[:3]
    records = draw(Key((2,)), 3, 224, 224, 224, Views(min_scale=1.0, flip=0.0))
    records[:, 1:5] = [0, 0, 224, 224]
    column(records, "flip")[1] = 1
    records[2, 1:5] = [5, 0, 100, 224]
    views = look(images, records, 224)
    assert torch.equal(views[0], images[0].float() / 255)
    assert torch.equal(views[1], (images[1].float() / 255).flip(-1))
    assert torch.equal(look(images[:2], records[:2], 224), views[:2])


@pytest.mark.parametrize("side", [32, 100])
def test_a_view_does_not_depend_on_its_batch(side: int) -> None:
    images, records = noise(24, side), draw(Key((3,)), 24, side, side, side, Views(flip=0.5))
    together = look(images, records, side)
    for i in (0, 7, 23):
        assert torch.equal(look(images[i : i + 1], records[i : i + 1], side)[0], together[i])


def test_cutmix_pastes_the_partners_view_into_the_box() -> None:
    images = noise(12, 24)
    records = draw(Key((4,)), 12, 24, 24, 24, Views(mix=CutMix(use="cutmix")))
    column(records, "op")[5] = PLAIN
    partner = column(records, "partner").astype(np.int64)
    plain = look(images, records, 24)
    mixed = render(images, records, 24, images[torch.from_numpy(partner)], records[partner])
    for i in range(12):
        top, left, height, width = (int(column(records, f"box_{s}")[i]) for s in ("top", "left", "h", "w"))
        expected = plain[i].clone()
        if column(records, "op")[i] == CUTMIX:
            box = (slice(None), slice(top, top + height), slice(left, left + width))
            expected[box] = plain[partner[i]][box]
        assert torch.equal(mixed[i], expected)


def test_mixup_weighs_the_view_and_the_partners() -> None:
    images = noise(12, 24)
    records = draw(Key((4,)), 12, 24, 24, 24, Views(mix=MixUp(use="mixup")))
    records[5, 0], records[6, 0] = PLAIN, CUTMIX
    records[6, 8:12] = [0, 0, 24, 12]
    partner, plain = column(records, "partner").astype(np.int64), look(images, records, 24)
    mixed = render(images, records, 24, images[torch.from_numpy(partner)], records[partner])
    assert torch.equal(mixed[5], plain[5])
    assert torch.equal(mixed[6], torch.cat([plain[partner[6]][..., :12], plain[6][..., 12:]], -1))
    for i in (0, 4, 7, 11):
        own = column(records, "lam")[i] / 65535
        assert torch.allclose(mixed[i], own * plain[i] + (1 - own) * plain[partner[i]], atol=1e-6)
    alone = render(images[:5], records[:5], 24, images[torch.from_numpy(partner[:5])], records[partner[:5]])
    assert torch.equal(alone, mixed[:5])


@pytest.mark.parametrize("side", [16, 17])
def test_halves_change_places_before_the_crop(side: int) -> None:
    whole = Views(min_scale=1.0, flip=0.0, shuffle=2)
    images, records = noise(40, side), draw(Key((7,)), 40, side, side, side, whole)
    records[:, 1:5] = [0, 0, side, side]
    views, half = (look(images, records, side) * 255).round().byte(), side // 2
    seen = set()
    for image, view, (left, up) in zip(images, views, halves_of(records).tolist(), strict=True):
        expected = torch.cat([image[..., half:], image[..., :half]], -1) if left else image
        expected = torch.cat([expected[:, half:], expected[:, :half]], 1) if up else expected
        assert torch.equal(view, expected)
        seen.add((left, up))
    assert len(seen) == 4


def test_operations_are_those_of_the_record() -> None:
    views = Views(min_scale=1.0, flip=0.5, randaugment=RandAugment(ops=2, magnitude=13))
    images, records = noise(60, 16), draw(Key((8,)), 60, 16, 16, 16, views)
    records[:, 1:5] = [0, 0, 16, 16]
    (first, second), (weak, strong) = (part.T for part in operations_of(records))
    expected = operate(operate(images, first, weak), second, strong).float() / 255
    shown = look(images, records, 16)
    mirrored = torch.from_numpy(column(records, "flip") % 2 == 1)
    assert torch.equal(shown[~mirrored], expected[~mirrored])
    assert torch.equal(shown[mirrored], expected[mirrored].flip(-1))
    assert not torch.equal(expected, images / 255)


@pytest.mark.parametrize("mix", [CutMix(use="cutmix"), MixUp(use="mixup")])
def test_rendering_leaves_the_images_alone(mix: Mix) -> None:
    views = Views(mix=mix, shuffle=2, randaugment=RandAugment())
    images, records = noise(5, 16), draw(Key((5,)), 5, 16, 16, 16, views)
    before, partner = images.clone(), column(records, "partner").astype(np.int64)
    render(images, records, 16, images[torch.from_numpy(partner)], records[partner])
    assert torch.equal(images, before)


def test_mixing_without_partners_is_refused() -> None:
    records = draw(Key((6,)), 3, 16, 16, 16, Views(mix=CutMix(use="cutmix")))
    with pytest.raises(ValueError, match="3 of 3 view records mix"):
        render(noise(3, 16), records, 16)
