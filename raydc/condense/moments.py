"""Moments of a feature map: by channel, and by tile of the plane over all channels.

A map is ``[B, C, H, W]``. By channel: mean and variance over batch, height and width. By tile of side p (G-VBSM, arXiv
2311.17950; specification section 1.3): the map is enlarged bilinearly so that both sides are multiples of p, cut into
K = (H'/p)(W'/p) tiles, row by row, and of each the mean and variance over batch, channels and positions is taken; a map
no larger than p is one tile. Variances are biased. Sums in at least fp32, whatever the network runs in: sums over 10^5
elements do not fit in 16 bits.

Nothing is enlarged here: how that sums up tiles is in ``tiling.py``. One autograd node takes all moments of a map and
keeps of it the map itself and its means; its derivative is u a[c] + b[c], and with tiles a stencil, so that a compiler
makes one pass of each way. Sums by channel are of differences from one of the values: E[x^2] - m^2 alone loses 4e-3 of
a variance where the mean is 50 standard deviations (performance study, section 1), of the differences 1e-7.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from raydc.condense.tiling import Tiling, pull, squares, sums, tiling


def wide(x: torch.Tensor) -> torch.Tensor:
    """The same in fp32, if it is not in fp64: what sums, norms and softmaxes are taken of."""
    return x if x.dtype == torch.float64 else x.float()


class Moments(NamedTuple):
    """Means and variances of one layer's input, ``[C]`` by channel; ``[K]`` by tile, where tiles are asked for."""

    mean: torch.Tensor
    var: torch.Tensor
    tile_mean: torch.Tensor | None = None
    tile_var: torch.Tensor | None = None


def moments(x: torch.Tensor, tile: int | Tiling = 0) -> Moments:
    """The moments of a batch ``[B, C, H, W]``; ``tile`` is the side of a tile, 0 for none, or how it is tiled."""
    if not tile:
        return Moments(*_OfChannels.apply(x))
    tiled = tile if isinstance(tile, Tiling) else tiling(x, tile)
    return Moments(*_OfTilesToo.apply(x, tiled))


def moments_of_each(x: torch.Tensor, tile: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The moments of each image alone: means and variances ``[B, C + K]``, channels first, then tiles."""
    x = wide(x)
    mean = x.mean((2, 3))
    var = (x - mean[..., None, None]).square().mean((2, 3))
    if not tile:
        return mean, var
    tiled, about = tiling(x, tile), mean.mean(1)[:, None, None]
    tile_mean, tile_var = _by_tile(x - about[:, None], (1,), tiled)
    return torch.cat([mean, (tile_mean + about).flatten(1)], 1), torch.cat([var, tile_var.flatten(1)], 1)


def _by_channel(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    about = x[:1, :, :1, :1]
    apart = x - about
    away = apart.mean((2, 3)).mean(0)
    var = apart.square().mean((2, 3)).mean(0) - away.square()
    # Where all values are equal, rounding may leave a variance of -1e-17.
    return away + about.flatten(), var.clamp_min(0.0)


def _by_tile(x: torch.Tensor, over: tuple[int, ...], tiled: Tiling) -> tuple[torch.Tensor, torch.Tensor]:
    count = math.prod([x.shape[d] for d in over])
    mean = sums(x.sum(over) / count, tiled)
    return mean, (squares(x, over, tiled) / count - mean.square()).clamp_min(0.0)


class _OfChannels(torch.autograd.Function):
    """By channel: mean, var."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        mean, var = _by_channel(wide(x))
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_mean: torch.Tensor, to_var: torch.Tensor) -> torch.Tensor:
        x, mean = ctx.saved_tensors
        slope, level = _line(mean, to_mean, to_var, x.numel() // x.shape[1])
        return (wide(x) * slope[:, None, None] + level[:, None, None]).to(x.dtype)


class _OfTilesToo(torch.autograd.Function):
    """By channel and by tile: mean, var, tile_mean, tile_var."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, tiled: Tiling) -> tuple[torch.Tensor, ...]:
        values = wide(x)
        mean, var = _by_channel(values)
        about = values[0, :, 0, 0].mean()
        tile_mean, tile_var = _by_tile(values - about, (0, 1), tiled)
        ctx.save_for_backward(x, mean, tile_mean, about)
        ctx.tiled = tiled
        return mean, var, (tile_mean + about).flatten(), tile_var.flatten()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *to: torch.Tensor) -> tuple[torch.Tensor, None]:
        x, mean, tile_mean, about = ctx.saved_tensors
        slope, level = _line(mean, to[0], to[1], x.numel() // x.shape[1])
        to_tile_mean, to_square = (t.reshape(tile_mean.shape) / (x.shape[0] * x.shape[1]) for t in to[2:])
        values = wide(x)
        of_tiles = pull(values - about, to_tile_mean - 2.0 * tile_mean * to_square, to_square, ctx.tiled)
        return (values * slope[:, None, None] + level[:, None, None] + of_tiles).to(x.dtype), None


def _line(
    mean: torch.Tensor, to_mean: torch.Tensor, to_var: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The derivative of a channel's moments as a line in its values: slope and level, ``[C]``."""
    slope = 2.0 * to_var / count
    return slope, to_mean / count - slope * mean


def tiles(height: int, width: int, tile: int) -> int:
    """How many tiles a map of this size is cut into."""
    return -(-height // tile) * -(-width // tile) if tile else 0
