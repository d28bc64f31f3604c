"""Total variation and pixel norm against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from raydc.condense.discrepancy import Term
from raydc.condense.discrepancy.pixel_norm import PixelNormTerm
from raydc.condense.discrepancy.total_variation import TotalVariationTerm
from raydc.config.axes.discrepancy import PixelNorm, TotalVariation
from tests.condense.nets import judged, order, pixels

EYE = nn.Flatten()
TV, NORM = TotalVariationTerm(TotalVariation(use="total_variation")), PixelNormTerm(PixelNorm(use="pixel_norm"))
BOTH = pytest.mark.parametrize("term", [TV, NORM], ids=["total_variation", "pixel_norm"])


def test_total_variation_of_four_pixels() -> None:
    x = torch.zeros(1, 3, 2, 2)
    x[0, 0] = torch.tensor([[1.0, 4.0], [3.0, 10.0]])
    # right: 3 and 7; down: 2 and 6; down right: 9; down left: -1.
    expected = math.sqrt(3**2 + 7**2) + math.sqrt(2**2 + 6**2) + 9 + 1
    assert judged(TV, EYE, x).item() == pytest.approx(expected, rel=1e-6)


def test_total_variation_is_of_the_whole_batch() -> None:
    """One norm over all images: two equal images give sqrt(2) times one, not twice it and not the same."""
    one = pixels(1, 6).double()
    twice = judged(TV, EYE, one.repeat(2, 1, 1, 1)).item()
    assert twice == pytest.approx(2**0.5 * judged(TV, EYE, one).item(), rel=1e-10)


def test_pixel_norm_is_the_mean_length() -> None:
    x = torch.zeros(2, 3, 1, 1)
    x[0, :2, 0, 0], x[1, 2, 0, 0] = torch.tensor([3.0, 4.0]), 7.0
    assert judged(NORM, EYE, x).item() == pytest.approx((5.0 + 7.0) / 2)


@BOTH
def test_against_numpy(term: Term) -> None:
    x = pixels(3, 7).double()
    a = x.numpy()
    if term is NORM:
        expected = np.sqrt((a**2).sum(axis=(1, 2, 3))).mean()
    else:
        down_left = a[:, :, 1:, :-1] - a[:, :, :-1, 1:]
        down_right = a[:, :, 1:, 1:] - a[:, :, :-1, :-1]
        expected = sum(np.linalg.norm(d) for d in (np.diff(a, axis=2), np.diff(a, axis=3), down_left, down_right))
    assert judged(term, EYE, x).item() == pytest.approx(expected, rel=1e-12)


@BOTH
def test_it_is_of_the_augmented_images(term: Term) -> None:
    x = pixels(3, 7).double()
    cropped = judged(term, EYE, x, seen=lambda v: v[..., :4, :4])
    assert cropped.item() == judged(term, EYE, x[..., :4, :4]).item()


@BOTH
def test_gradient_against_finite_differences(term: Term) -> None:
    x = pixels(2, 4).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: judged(term, EYE, v), (x,))


@BOTH
def test_one_grey_pulls_nowhere(term: Term) -> None:
    x = torch.zeros(2, 3, 4, 4, requires_grad=True)
    judged(term, EYE, x).backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


@BOTH
def test_the_order_of_images_does_not_matter(term: Term) -> None:
    x = pixels(5, 6).double()
    assert judged(term, EYE, x[order(5)]).item() == pytest.approx(judged(term, EYE, x).item(), rel=1e-12)


@BOTH
def test_sixteen_bits_are_summed_in_thirty_two(term: Term) -> None:
    x = pixels(4, 32).to(torch.bfloat16)
    half = judged(term, EYE, x)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(judged(term, EYE, x.double()).item(), rel=1e-5)
