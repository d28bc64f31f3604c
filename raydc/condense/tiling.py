"""Tiles of an enlarged map, summed without enlarging it.

Enlarging is linear along each side: row i of the larger map is sum_h R[i, h] x[h], with R[i] not 0 at two neighbours at
most. So a tile's sum of values is a fixed weighting of the plane of x summed over images and channels, and its sum of
squares,

    sum over i, j in tile of (R x C')_ij^2  =  sum over h, h', w, w' of A[h, h'] B[w, w'] x_hw x_h'w',

with A = sum_i R[i, h] R[i, h'] not 0 where |h - h'| <= 1, needs of the map four planes alone: its squares, and the
products of neighbours in a row, in a column, and across. The derivative is a stencil of the eight neighbours with
weights that depend on the position only. Exact, and 7x7 is never made 16x16: with a compiler ten times as fast as
enlarging on one core, at 56x56 to 7x7 (`benchmarks/bench_synthesis.py` times what comes of it).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Bands:
    """Along one side of ``n`` positions and ``k`` tiles, each row divided by the length of a tile."""

    weigh: torch.Tensor
    """``[k, n]``: of a value in the mean of a tile."""
    same: torch.Tensor
    """``[k, n]``: of a value with itself, the diagonal of A."""
    next: torch.Tensor
    """``[k, n - 1]``: of a value with the one after it, the diagonal beside."""


@dataclass(frozen=True)
class Tiling:
    """How maps of one size are cut into tiles."""

    rows: Bands
    columns: Bands
    enlarged: bool
    """Whether tiles are of an enlarged map: neighbours then have to do with each other."""


def tiling(x: torch.Tensor, tile: int) -> Tiling:
    """The tiling of maps ``[..., H, W]`` like ``x`` into tiles of a side, in at least fp32 and on its device."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return _tiling(int(x.shape[-2]), int(x.shape[-1]), tile, dtype, x.device)


@lru_cache(maxsize=1024)
def _tiling(height: int, width: int, tile: int, dtype: torch.dtype, device: torch.device) -> Tiling:
    rows, columns = (_bands(side, tile, dtype, device) for side in (height, width))
    return Tiling(rows, columns, bool(height % tile or width % tile))


def _bands(side: int, tile: int, dtype: torch.dtype, device: torch.device) -> Bands:
    count = -(-side // tile)
    each = torch.eye(side, dtype=torch.float64)[None]
    larger = F.interpolate(each, size=count * tile, mode="linear", align_corners=False)[0].T  # [H', H]
    cut = larger.reshape(count, tile, side)
    bands = (cut.mean(1), cut.square().mean(1), (cut[..., :-1] * cut[..., 1:]).mean(1))
    return Bands(*(band.to(device, dtype) for band in bands))


def sums(plane: torch.Tensor, tiled: Tiling) -> torch.Tensor:
    """The mean of each tile of an enlarged plane ``[..., H, W]``: ``[..., rows, columns]``."""
    return tiled.rows.weigh @ plane @ tiled.columns.weigh.T


def squares(x: torch.Tensor, over: tuple[int, ...], tiled: Tiling) -> torch.Tensor:
    """The mean square of each tile of enlarged maps ``[..., H, W]``, summed over these of the dimensions before."""
    rows, columns = tiled.rows, tiled.columns
    found = rows.same @ x.square().sum(over) @ columns.same.T
    if not tiled.enlarged:
        return found
    beside = (x[..., :-1] * x[..., 1:]).sum(over)
    below = (x[..., :-1, :] * x[..., 1:, :]).sum(over)
    across = (x[..., :-1, :-1] * x[..., 1:, 1:] + x[..., :-1, 1:] * x[..., 1:, :-1]).sum(over)
    beside = rows.same @ beside @ columns.next.T
    below = rows.next @ below @ columns.same.T
    across = rows.next @ across @ columns.next.T
    return found + 2.0 * (beside + below + across)


def pull(x: torch.Tensor, to_sum: torch.Tensor, to_square: torch.Tensor, tiled: Tiling) -> torch.Tensor:
    """The derivative by ``x`` of <to_sum, sums> + <to_square, squares>, over the dimensions that are 1 in these."""
    rows, columns = tiled.rows, tiled.columns
    twice = 2.0 * to_square
    found = rows.weigh.T @ to_sum @ columns.weigh + (rows.same.T @ twice @ columns.same) * x
    if not tiled.enlarged:
        return found
    # A pair's weight stands at its first place; for the second one it is moved there. Outside, all is 0.
    right = F.pad(rows.same.T @ twice @ columns.next, (0, 1, 0, 0))
    down = F.pad(rows.next.T @ twice @ columns.same, (0, 0, 0, 1))
    cross = F.pad(rows.next.T @ twice @ columns.next, (0, 1, 0, 1))
    around = F.pad(x, (1, 1, 1, 1))
    for weight, v, h in ((right, 0, 1), (down, 1, 0), (cross, 1, 1)):
        found = found + weight * _moved(around, v, h) + _before(weight, v, h) * _moved(around, -v, -h)
    # Across the other way, the pair's first place is the one to the right.
    return found + _before(cross, 0, 1) * _moved(around, 1, -1) + _before(cross, 1, 0) * _moved(around, -1, 1)


def _moved(around: torch.Tensor, v: int, h: int) -> torch.Tensor:
    """What stands ``v`` below and ``h`` to the right of each place of a map that has a border of one."""
    tall, wide = around.shape[-2:]
    return around[..., 1 + v : tall - 1 + v, 1 + h : wide - 1 + h]


def _before(weight: torch.Tensor, v: int, h: int) -> torch.Tensor:
    """The weight ``v`` above and ``h`` to the left of each place, 0 beyond the edge."""
    return F.pad(weight, (h, 0, v, 0))[..., : weight.shape[-2], : weight.shape[-1]]
