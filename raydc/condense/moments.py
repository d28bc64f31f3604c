"""Moments of a feature map: by channel, and by tile of the plane over all channels.

A map is ``[B, C, H, W]``. By channel: mean and variance over batch, height and width. By tile of side p (G-VBSM, arXiv
2311.17950; specification section 1.3): the map is enlarged bilinearly so that both sides are multiples of p, cut into
K = (H'/p)(W'/p) tiles, row by row, and of each the mean and variance over batch, channels and positions is taken; a map
no larger than p is one tile. Variances are biased. Sums in at least fp32, whatever the network runs in: sums over 10^5
elements do not fit in 16 bits.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F


def wide(x: torch.Tensor) -> torch.Tensor:
    """The same in fp32, if it is not in fp64: what sums, norms and softmaxes are taken of."""
    return x if x.dtype == torch.float64 else x.float()


class Moments(NamedTuple):
    """Means and variances of one layer's input, ``[C]`` by channel; ``[K]`` by tile, where tiles are asked for."""

    mean: torch.Tensor
    var: torch.Tensor
    tile_mean: torch.Tensor | None = None
    tile_var: torch.Tensor | None = None


def moments(x: torch.Tensor, tile: int = 0) -> Moments:
    """The moments of a batch ``[B, C, H, W]``; ``tile`` is the side of a tile, 0 for none."""
    x = wide(x)
    flat = x.flatten(2)
    mean = flat.mean(2).mean(0)
    var = (flat - mean[:, None]).square().mean(2).mean(0)
    if not tile:
        return Moments(mean, var)
    tile_mean, tile_var = _of_tiles(x, tile, (0, 1))
    return Moments(mean, var, tile_mean.flatten(), tile_var.flatten())


def moments_of_each(x: torch.Tensor, tile: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The moments of each image alone: means and variances ``[B, C + K]``, channels first, then tiles."""
    x = wide(x)
    flat = x.flatten(2)
    mean = flat.mean(2)
    var = (flat - mean[..., None]).square().mean(2)
    if not tile:
        return mean, var
    tile_mean, tile_var = _of_tiles(x, tile, (1,))
    return torch.cat([mean, tile_mean.flatten(1)], 1), torch.cat([var, tile_var.flatten(1)], 1)


def _of_tiles(x: torch.Tensor, tile: int, over: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of each tile, over these dimensions too: ``[rows, columns]`` or ``[B, rows, columns]``.

    Two passes, in planes that were averaged first: several times faster on a CPU than ``torch.var_mean`` over four
    dimensions, and as exact.
    """
    rows, columns = (-(-side // tile) for side in x.shape[2:])
    if x.shape[2:] != (rows * tile, columns * tile):
        x = F.interpolate(x, size=(rows * tile, columns * tile), mode="bilinear", align_corners=False)
    mean = F.avg_pool2d(x.mean(over, keepdim=True), tile)
    apart = x - mean.repeat_interleave(tile, 2).repeat_interleave(tile, 3)
    var = F.avg_pool2d(apart.square().mean(over, keepdim=True), tile)
    kept = [d for d in range(2) if d not in over]
    shape = [x.shape[d] for d in kept] + [rows, columns]
    return mean.reshape(shape), var.reshape(shape)


def tiles(height: int, width: int, tile: int) -> int:
    """How many tiles a map of this size is cut into."""
    return -(-height // tile) * -(-width // tile) if tile else 0
