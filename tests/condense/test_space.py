"""The space of the pixels: clipping, rounding, and the pixel space itself."""

from __future__ import annotations

import pytest
import torch

from raydc.condense.space import Space

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_the_bounds_are_black_and_white() -> None:
    space = Space(MEAN, STD)
    x = space.clamp_(torch.tensor([-9.0, 0.0, 9.0]).view(1, 1, 1, 3).repeat(2, 3, 1, 1))
    for c in range(3):
        low, high = -MEAN[c] / STD[c], (1 - MEAN[c]) / STD[c]
        assert x[0, c, 0].tolist() == pytest.approx([low, 0.0, high], abs=1e-6)
    assert space.to_uint8(x)[0, :, 0, 0].tolist() == [0, 0, 0]
    assert space.to_uint8(x)[0, :, 0, 2].tolist() == [255, 255, 255]


def test_clipping_is_in_place_and_keeps_the_type() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.full((1, 3, 2, 2), 50.0, dtype=dtype)
        assert Space(MEAN, STD).clamp_(x) is x and x.dtype == dtype and x.max() < 3


def test_every_stored_level_survives_a_round_trip() -> None:
    levels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(3, 16, 16)
    for space in (Space(MEAN, STD), Space((0.0,) * 3, (1.0,) * 3), Space((0.498,) * 3, (0.502,) * 3)):
        assert torch.equal(space.to_uint8(space.normalize(levels.float() / 255)), levels)


def test_pixels_are_rounded_not_truncated() -> None:
    space = Space((0.0,) * 3, (1.0,) * 3)
    x = torch.tensor([0.0, 0.4, 0.6, 99.4, 99.6, 254.6, 254.4]).div(255).view(1, 1, 1, 7).repeat(1, 3, 1, 1)
    assert space.to_uint8(x)[0, 0, 0].tolist() == [0, 0, 1, 99, 100, 255, 254]


def test_pixels_out_of_range_are_clipped_before_they_wrap() -> None:
    x = torch.tensor([-0.5, 1.5]).view(1, 1, 1, 2).repeat(1, 3, 1, 1)
    assert Space((0.0,) * 3, (1.0,) * 3).to_uint8(x)[0, 0, 0].tolist() == [0, 255]


def test_without_normalisation_the_space_is_the_pixels() -> None:
    """CDA's ImageNet-21K teachers: clamp to [0, 1], no mean, no standard deviation."""
    space = Space((0.0,) * 3, (1.0,) * 3)
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(space.normalize(x), x) and torch.equal(space.clamp_(x.clone()), x)
    assert space.clamp_(torch.tensor([-3.0, 3.0]).view(1, 1, 1, 2).repeat(1, 3, 1, 1))[0, 0, 0].tolist() == [0.0, 1.0]


def test_stored_pixels_know_nothing_of_gradients_or_precision() -> None:
    x = torch.zeros(1, 3, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    out = Space(MEAN, STD).to_uint8(x)
    assert out.dtype == torch.uint8 and not out.requires_grad and out.device.type == "cpu"
    assert out[0, :, 0, 0].tolist() == [round(255 * m) for m in MEAN]


def test_a_picture_of_another_space_stays_the_same_picture() -> None:
    one, other = Space(MEAN, STD), Space((0.5, 0.4, 0.3), (0.1, 0.2, 0.9))
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    adopted = other.adopt(one.normalize(x), one)
    torch.testing.assert_close(adopted, other.normalize(x), rtol=0, atol=1e-5)
    y = one.normalize(x)
    assert one.adopt(y, Space(MEAN, STD)) is y  # no arithmetic, no rounding
    plain = Space((0.0,) * 3, (1.0,) * 3)
    torch.testing.assert_close(plain.adopt(y, one), x, rtol=0, atol=1e-6)


def test_the_gradient_finds_its_way_back_from_another_space() -> None:
    one, other = Space(MEAN, STD), Space((0.5, 0.4, 0.3), (0.1, 0.2, 0.9))
    x = torch.zeros(1, 3, 2, 2, requires_grad=True)
    other.adopt(x, one).sum().backward()
    assert x.grad[0, :, 0, 0].tolist() == pytest.approx([0.229 / 0.1, 0.224 / 0.2, 0.225 / 0.9])
