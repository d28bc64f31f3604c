"""Differentiable siamese augmentation: each operation against NumPy, its draws, its gradient."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from raydc.condense.augment import augment, dsa
from raydc.config.axes.augment import Dsa
from raydc.keys import Key
from tests.condense.nets import order, pixels

KEY, SIDE = Key((0, "step", 0)), 12
OPS = ["color", "crop", "cutout", "flip", "scale", "rotate"]
X = pixels(3, SIDE)


def config(**settings: Any) -> Dsa:
    return Dsa.model_validate({"use": "dsa", **settings})


def drawn(op: str, count: int = 400, side: int = SIDE, **settings: Any) -> np.ndarray:
    made = config(ops=[op], **settings)
    records = [dsa.draw(made, KEY.child(i), 3, (side, side), 0, 1) for i in range(count)]
    assert {name for name, _ in records} == {op}
    return np.array([numbers for _, numbers in records], dtype=float)


# ---- what is drawn ----------------------------------------------------------------------------------------------
def test_one_operation_a_step_all_alike_often() -> None:
    names = Counter(dsa.draw(config(), KEY.child(i), 3, (SIDE, SIDE), 0, 1)[0] for i in range(1_200))
    assert set(names) == set(OPS)
    assert all(count == pytest.approx(200, abs=45) for count in names.values())


def test_ranges_of_the_source() -> None:
    colour = drawn("color")
    for n, (low, high) in enumerate([(-0.5, 0.5), (0.0, 2.0), (0.5, 1.5)]):
        assert low <= colour[:, n].min() < low + 0.02 and high - 0.02 < colour[:, n].max() <= high
    scale = drawn("scale")
    assert scale.shape == (400, 2) and not np.allclose(scale[:, 0], scale[:, 1])
    assert 1 / 1.2 <= scale.min() < 0.84 and 1.19 < scale.max() <= 1.2
    angle = np.degrees(drawn("rotate"))
    assert -15 <= angle.min() < -14.5 and 14.5 < angle.max() <= 15
    assert drawn("flip").mean() == pytest.approx(0.5, abs=0.08)
    shifts = drawn("crop", side=32)
    assert set(shifts.ravel().tolist()) == set(range(-4, 5))  # int(.125 * 32 + .5)


def test_cutout_squares() -> None:
    """A side of half the image; the centre anywhere, so squares at the border are smaller."""
    top, bottom, left, right = drawn("cutout", side=32).astype(int).T
    assert set((bottom - top).tolist()) == set((right - left).tolist()) == set(range(8, 17))
    assert top.min() == 0 and bottom.max() == 32 and (bottom - top == 16).mean() == pytest.approx(17 / 33, abs=0.08)


def test_an_operation_that_is_not_known_is_refused() -> None:
    for ops in ([], ["blur"]):
        with pytest.raises(ValueError, match="ops"):
            config(ops=ops)


# ---- what it does -----------------------------------------------------------------------------------------------
def test_colour_by_numpy() -> None:
    x = X.numpy() + 0.3
    grey = x.mean(axis=1, keepdims=True)
    x = (x - grey) * 1.7 + grey
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    expected = (x - mean) * 0.6 + mean
    np.testing.assert_allclose(dsa.apply(X, ("color", [0.3, 1.7, 0.6])), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shift", [(0, 0), (2, -3), (-1, 0), (4, 4)])
def test_crop_by_numpy(shift: tuple[int, int]) -> None:
    expected = np.zeros_like(X.numpy())
    for i in range(SIDE):
        for j in range(SIDE):
            if 0 <= i + shift[0] < SIDE and 0 <= j + shift[1] < SIDE:
                expected[:, :, i, j] = X.numpy()[:, :, i + shift[0], j + shift[1]]
    np.testing.assert_array_equal(dsa.apply(X, ("crop", list(shift))), expected)


def test_cutout_is_zero_within_and_untouched_without() -> None:
    view = dsa.apply(X, ("cutout", [2, 7, 0, 3]))
    expected = X.clone()
    expected[:, :, 2:7, 0:3] = 0
    assert torch.equal(view, expected)


def test_flip() -> None:
    assert torch.equal(dsa.apply(X, ("flip", [True])), X.flip(-1))
    assert torch.equal(dsa.apply(X, ("flip", [False])), X)


def sampled(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Bilinear sampling at matrix @ (x, y), in coordinates from -1 to 1 at the outer edges of pixels; zeros outside."""
    side, out = x.shape[2], np.zeros_like(x)
    for i in range(side):
        for j in range(side):
            u, v = matrix @ np.array([(2 * j + 1) / side - 1, (2 * i + 1) / side - 1])
            column, row = ((u + 1) * side - 1) / 2, ((v + 1) * side - 1) / 2
            for r in (math.floor(row), math.floor(row) + 1):
                for c in (math.floor(column), math.floor(column) + 1):
                    if 0 <= r < side and 0 <= c < side:
                        out[:, :, i, j] += x[:, :, r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return out


@pytest.mark.parametrize("by", [(1.2, 0.9), (0.85, 1.1)])
def test_scale_by_numpy(by: tuple[float, float]) -> None:
    expected = sampled(X.double().numpy(), np.diag(by))
    np.testing.assert_allclose(dsa.apply(X, ("scale", list(by))), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("degrees", [15.0, -7.0, 90.0])
def test_rotate_by_numpy(degrees: float) -> None:
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    np.testing.assert_allclose(dsa.apply(X, ("rotate", [angle])), sampled(X.double().numpy(), turn), rtol=0, atol=2e-5)
    if degrees == 90.0:
        np.testing.assert_allclose(dsa.apply(X, ("rotate", [angle])), X.rot90(1, (2, 3)), rtol=0, atol=2e-5)


# ---- siamese, differentiable, the same again --------------------------------------------------------------------
@pytest.mark.parametrize("op", OPS)
def test_all_images_alike_in_whatever_company_and_order(op: str) -> None:
    made = config(ops=[op], flip=1.0)
    together = augment(X, [made], KEY, 0, 1)
    assert not torch.equal(together, X)
    for image, view in zip(X.split(1), together.split(1), strict=True):
        assert torch.allclose(augment(image, [made], KEY, 0, 1), view, rtol=0, atol=1e-6)
    p = order(3)
    assert torch.allclose(augment(X[p], [made], KEY, 0, 1), together[p], rtol=0, atol=1e-6)
    assert torch.equal(augment(X, [made], KEY, 0, 1), together)


@pytest.mark.parametrize("op", OPS)
def test_gradient_against_finite_differences(op: str) -> None:
    x = pixels(2, 5).double().requires_grad_(True)
    made = config(ops=[op], flip=1.0)
    assert torch.autograd.gradcheck(lambda v: augment(v, [made], KEY, 0, 1), (x,))


@pytest.mark.parametrize("op", OPS)
def test_half_precision_is_near(op: str) -> None:
    made = config(ops=[op])
    half = augment(X.to(torch.bfloat16), [made], KEY, 0, 1)
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), augment(X, [made], KEY, 0, 1), rtol=0.02, atol=0.04)


# ---- as students see it -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("op", OPS)
def test_each_image_with_numbers_of_its_own_is_that_image_alone(op: str) -> None:
    """One operation a batch, another strength for each image: row by row the same as the shared operation."""
    x = pixels(9, SIDE)
    drawn = dsa.draw_each(config(ops=[op]), KEY, len(x), (SIDE, SIDE))
    assert drawn[0] == op and drawn[1].shape[0] == len(x)
    assert len({tuple(row) for row in drawn[1].tolist()}) > 1
    whole = dsa.apply_each(x, drawn)
    for i, row in enumerate(drawn[1]):
        exact = [int(n) for n in row] if op in ("crop", "cutout", "flip") else row.tolist()
        torch.testing.assert_close(whole[i : i + 1], dsa.apply(x[i : i + 1], (op, exact)), rtol=1e-4, atol=1e-5)


def test_the_operation_of_a_batch_hangs_on_the_key() -> None:
    names = {dsa.draw_each(config(), KEY.child(i), 2, (SIDE, SIDE))[0] for i in range(60)}
    assert names == set(OPS)
