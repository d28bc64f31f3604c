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

from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from raydc.condense.tiling import Tiling, pull, squares, sums, tiling


def wide(x: torch.Tensor) -> torch.Tensor:
    """The same in fp32, if it is not in fp64: what sums, norms and softmaxes are taken of."""
    return x if x.dtype == torch.float64 else x.float()


class Moments(NamedTuple):
    """Means and variances of one layer's input, ``[C]`` by channel; ``[K]`` by tile, where tiles are asked for. Of
    several groups of images each is a row: ``[G, C]`` and ``[G, K]``."""

    mean: torch.Tensor
    var: torch.Tensor
    tile_mean: torch.Tensor | None = None
    tile_var: torch.Tensor | None = None

    def row(self, group: int) -> Moments:
        """Those of one group."""
        return Moments(*(None if values is None else values[group] for values in self))  # type: ignore[arg-type]


def moments_of_groups(x: torch.Tensor, groups: int, tile: int | Tiling = 0) -> Moments:
    """The moments of each of so many groups of ``[G x B, C, H, W]``; ``tile`` is the side of a tile, 0 for none, or how
    maps are tiled."""
    if not tile:
        return Moments(*_OfChannels.apply(x, groups))
    tiled = tile if isinstance(tile, Tiling) else tiling(x, tile)
    return Moments(*_OfTilesToo.apply(x, groups, tiled))


def _grouped(x: torch.Tensor, groups: int) -> torch.Tensor:
    return wide(x).unflatten(0, (groups, -1))


def _by_channel(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    about = x[:, :1, :, :1, :1]
    apart = x - about
    away = apart.mean((3, 4)).mean(1)
    var = apart.square().mean((3, 4)).mean(1) - away.square()
    # Where all values are equal, rounding may leave a variance of -1e-17.
    return away + about.flatten(1), var.clamp_min(0.0)


def _by_tile(x: torch.Tensor, tiled: Tiling) -> tuple[torch.Tensor, torch.Tensor]:
    count = x.shape[1] * x.shape[2]
    mean = sums(x.sum((1, 2)) / count, tiled)
    return mean, (squares(x, (1, 2), tiled) / count - mean.square()).clamp_min(0.0)


class _OfChannels(torch.autograd.Function):
    """By channel: mean, var."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, groups: int) -> tuple[torch.Tensor, ...]:
        mean, var = _by_channel(_grouped(x, groups))
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_mean: torch.Tensor, to_var: torch.Tensor) -> tuple[torch.Tensor, None]:
        x, mean = ctx.saved_tensors
        pulled = _line(_grouped(x, len(mean)), mean, to_mean, to_var)
        return pulled.flatten(0, 1).to(x.dtype), None


class _OfTilesToo(torch.autograd.Function):
    """By channel and by tile: mean, var, tile_mean, tile_var."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, groups: int, tiled: Tiling) -> tuple[torch.Tensor, ...]:
        values = _grouped(x, groups)
        mean, var = _by_channel(values)
        about = values[:, :1, :, :1, :1].mean(2, keepdim=True)
        tile_mean, tile_var = _by_tile(values - about, tiled)
        ctx.save_for_backward(x, mean, tile_mean, about)
        ctx.tiled = tiled
        return mean, var, (tile_mean + about[:, :, 0, 0]).flatten(1), tile_var.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *to: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        x, mean, tile_mean, about = ctx.saved_tensors
        values = _grouped(x, len(mean))
        count = values.shape[1] * values.shape[2]
        to_tile_mean, to_square = (t.reshape(tile_mean.shape) / count for t in to[2:])
        to_sum = to_tile_mean - 2.0 * tile_mean * to_square
        of_tiles = pull(values - about, to_sum[:, None, None], to_square[:, None, None], ctx.tiled)
        return (_line(values, mean, to[0], to[1]) + of_tiles).flatten(0, 1).to(x.dtype), None, None


def _line(x: torch.Tensor, mean: torch.Tensor, to_mean: torch.Tensor, to_var: torch.Tensor) -> torch.Tensor:
    """The derivative of the moments by channel ``[G, C]``, a line in the values ``[G, B, C, H, W]``."""
    count = x[0, :, 0].numel()
    slope = 2.0 * to_var / count
    level = to_mean / count - slope * mean
    return x * slope[:, None, :, None, None] + level[:, None, :, None, None]


def tiles(height: int, width: int, tile: int) -> int:
    """How many tiles a map of this size is cut into."""
    return -(-height // tile) * -(-width // tile) if tile else 0
