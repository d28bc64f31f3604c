"""Conv statistics: does the batch look like the real data at every convolution's input, by channel and by place?

Formula: as ``bn_statistics``, at the inputs of all convolutions (1x1, depthwise and squeeze-and-excite ones too), with
two more norms a layer, on mean and variance of each tile of the plane over batch, channels and positions. The first
layer is the stem: its statistics are those of the pixels. Each layer is left out of a step with probability ``drop``.
Targets come from a pass over the real data (``squeeze.statistics``). What it shares with others: ``matching.py``.
Source: G-VBSM, arXiv 2311.17950 (generalized statistical matching); specification section 1.3.
Defaults: weight 0.01, first_multiplier 10, tile 16 (ImageNet-1K; 4 at 32 and 64 pixels), drop 0 (0.4 at 32 and 64).
Not for: runs without real images.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from raydc.condense.discrepancy.matching import MatchingTerm
from raydc.condense.discrepancy.term import Look
from raydc.condense.moments import Moments
from raydc.condense.observer import Layer
from raydc.config.axes.discrepancy import ConvStatistics
from raydc.keys import Key


class ConvStatisticsTerm(MatchingTerm):
    """The distance at the inputs of convolutions."""

    config: ConvStatistics
    kind = "conv"

    def tap(self, layers: list[Layer]) -> Mapping[int, int]:
        """Every convolution; by tile, if tiles are compared."""
        tile = self.config.tile if "tile" in self.config.by else 0
        return {n: tile for n, layer in enumerate(layers) if layer.kind == "conv"}

    def draw(self, layers: list[Layer], key: Key) -> np.ndarray | None:
        """Which convolutions the step compares: float32 ``[len(layers)]``, 1 or 0."""
        if not self.config.drop:
            return None
        convolutions = list(self.tap(layers))
        there = np.zeros(len(layers), np.float32)
        there[convolutions] = key.child("drop").uniform(len(convolutions)) >= self.config.drop
        return there

    def of_all(self, look: Look, position: int) -> Moments:
        """The statistics of the real data."""
        known = look.guide.statistics
        if known is None:
            raise ValueError("conv_statistics needs statistics of the real data, and there are none")
        if "tile" in self.config.by and known.tile != self.config.tile:
            raise ValueError(f"the statistics are of tiles of side {known.tile}, the objective's of {self.config.tile}")
        return known.of_all(look.logits.device)[look.guide.layers[position].name]

    def kinds(self) -> tuple[str, ...]:
        """By channel, by tile, or both."""
        tile = ("tile_mean", "tile_var") if "tile" in self.config.by else ()
        return (("mean", "var") if "channel" in self.config.by else ()) + tile
