"""Discrepancy: the terms of the synthesis objective."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raydc.config.base import Decay, Positive, Probability, Strict, Weight


class CrossEntropy(Strict):
    """The teacher's cross-entropy with the class of the image."""

    use: Literal["cross_entropy"]
    weight: Weight = 1.0


class Average(Strict):
    """A running average of the synthetic statistics over steps, straight-through: its value, the step's gradient."""

    decay: Decay
    bias_correct: bool = True
    """Divide by 1 - decay^t, so that the first steps are not held against an average that began at 0."""


class Matching(Strict):
    """What all terms share that hold statistics of the batch against those of the real data."""

    weight: Weight = 0.01
    first_multiplier: Weight = 10.0
    """Factor of the first layer of this term, in the order of the network's modules."""
    reduction: Literal["sum_l2", "mean_l2", "mse"] = "sum_l2"
    """Over layers and statistics: the sum of Euclidean norms, their mean, or the mean of mean squared differences."""
    average: Average | None = None
    category: Probability = 0.0
    """Share of the target that is made of the statistics of the batch's own classes; the rest is that of all data."""
    moment: Literal["total", "within_image"] = "total"
    """The class variance: of all values of the class, or the mean of the variances within single images."""


class BNStatistics(Matching):
    """Distance of the batch statistics at each BatchNorm input from those of the real data."""

    use: Literal["bn_statistics"]


class ConvStatistics(Matching):
    """Distance of the statistics at each convolution's input, by channel and by tile, from those of the real data."""

    use: Literal["conv_statistics"]
    tile: Positive = 16
    """Side of a tile in positions of the map; maps are enlarged to a multiple of it."""
    by: list[Literal["channel", "tile"]] = Field(["channel", "tile"], min_length=1)
    drop: Probability = 0.0
    """Probability with which each layer is left out of a step."""


class Densification(Strict):
    """Images of one class pushed apart: the spectrum of their Gram matrix held against a flatter one."""

    use: Literal["densification"]
    weight: Weight = 1.0
    temperature: float = Field(4.0, gt=0)
    size: Positive = 32
    """Side that pictures are pooled to."""
    scale: Literal["raw", "mean"] = "raw"
    """Eigenvalues as they are (published), or divided by their mean."""


class Flatness(Strict):
    """The teacher's answer to the pictures held against its answer to their running average."""

    use: Literal["flatness"]
    weight: Weight = 0.25
    decay: Decay = 0.99
    temperature: float = Field(4.0, gt=0)


class TotalVariation(Strict):
    """Differences of neighbouring pixels."""

    use: Literal["total_variation"]
    weight: Weight = 1e-4


class PixelNorm(Strict):
    """The length of each picture as a vector."""

    use: Literal["pixel_norm"]
    weight: Weight = 1e-5


Discrepancy = Annotated[
    CrossEntropy | BNStatistics | ConvStatistics | Densification | Flatness | TotalVariation | PixelNorm,
    Field(discriminator="use"),
]
