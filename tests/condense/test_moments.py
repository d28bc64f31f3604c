"""Moments by channel and by tile against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raydc.condense.moments import moments_of_groups, tiles
from tests.condense.nets import moments, order, pixels

X = pixels(3, 8, channels=2).double()


def by_tile(x: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each tile over batch, channels and positions, row by row, by plain loops."""
    cut = [x[:, :, i : i + side, j : j + side] for i in range(0, x.shape[2], side) for j in range(0, x.shape[3], side)]
    return np.array([c.mean() for c in cut]), np.array([c.var() for c in cut])


def test_by_channel() -> None:
    got = moments(X)
    np.testing.assert_allclose(got.mean, X.numpy().mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(got.var, X.numpy().var(axis=(0, 2, 3)), rtol=1e-12)
    assert got.tile_mean is None and got.tile_var is None


@pytest.mark.parametrize("side", [1, 2, 4, 8])
def test_by_tile_where_the_map_is_a_multiple(side: int) -> None:
    got, (mean, var) = moments(X, side), by_tile(X.numpy(), side)
    np.testing.assert_allclose(got.tile_mean, mean, rtol=1e-10)
    np.testing.assert_allclose(got.tile_var, var, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(got.mean, moments(X).mean, rtol=0)


def enlarged(x: np.ndarray, side: int) -> np.ndarray:
    """Bilinear, half-pixel centres, the border repeated, along both axes."""

    def weights(old: int) -> np.ndarray:
        at = np.clip((np.arange(side) + 0.5) * old / side - 0.5, 0, None)
        low = np.minimum(at.astype(int), old - 1)
        out = np.zeros((side, old))
        for n, (a, b) in enumerate(zip(low, np.minimum(low + 1, old - 1), strict=True)):
            out[n, a] += 1 - (at[n] - a)
            out[n, b] += at[n] - a
        return out

    return np.einsum("ih,bchw,jw->bcij", weights(x.shape[2]), x, weights(x.shape[3]))


@pytest.mark.parametrize(("map_side", "side", "count"), [(7, 4, 4), (5, 16, 1), (1, 4, 1), (9, 4, 9)])
def test_a_map_that_is_no_multiple_is_enlarged(map_side: int, side: int, count: int) -> None:
    x = pixels(2, map_side).double()
    got, up = moments(x, side), enlarged(x.numpy(), -(-map_side // side) * side)
    mean, var = by_tile(up, side)
    assert len(got.tile_mean) == count == tiles(map_side, map_side, side)
    np.testing.assert_allclose(got.tile_mean, mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(got.tile_var, var, rtol=1e-9, atol=1e-12)


def test_a_map_need_not_be_square() -> None:
    x = X[:, :, :4]
    mean, var = by_tile(x.numpy(), 4)
    np.testing.assert_allclose(moments(x, 4).tile_mean, mean, rtol=1e-10)
    np.testing.assert_allclose(moments(x, 4).tile_var, var, rtol=1e-10)
    assert tiles(4, 8, 4) == 2 and tiles(4, 8, 0) == 0


@pytest.mark.parametrize("tile", [0, 4, 3])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_of_each_group_is_that_of_the_group_alone(groups: int, tile: int) -> None:
    x = pixels(6, 8, channels=2).double()
    found = moments_of_groups(x, groups, tile)
    for n, part in enumerate(x.chunk(groups)):
        for one, other in zip(found.row(n), moments(part, tile), strict=True):
            assert one is other is None or torch.equal(one, other)


@pytest.mark.parametrize("tile", [0, 2, 3])
def test_the_gradient_of_a_group_is_that_of_the_group_alone(tile: int) -> None:
    x = pixels(4, 5, channels=2).double()
    whole, parts = x.clone().requires_grad_(True), [p.clone().requires_grad_(True) for p in x.chunk(2)]
    sum(v.square().sum() for v in moments_of_groups(whole, 2, tile) if v is not None).backward()
    for part in parts:
        sum(v.square().sum() for v in moments(part, tile) if v is not None).backward()
    torch.testing.assert_close(whole.grad, torch.cat([p.grad for p in parts]), rtol=1e-13, atol=0)
    assert torch.autograd.gradcheck(lambda v: [m for m in moments_of_groups(v, 2, tile) if m is not None], (whole,))


def test_images_in_another_order_give_the_same() -> None:
    for one, other in zip(moments(X, 2), moments(X[order(3)], 2), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_gradient_against_finite_differences() -> None:
    x = pixels(2, 5, channels=2).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: tuple(moments(v, 2)), (x,))


def test_sixteen_bits_are_summed_in_thirty_two() -> None:
    x = (100 + 0.5 * pixels(8, 32, channels=2)).to(torch.bfloat16)
    got, exact = moments(x, 16), moments(x.double(), 16)
    for value, right in zip(got, exact, strict=True):
        assert value.dtype == torch.float32
        np.testing.assert_allclose(value, right, rtol=1e-5)
    assert F.mse_loss(moments(x.float(), 16).var, got.var) == 0
