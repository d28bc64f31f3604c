"""Augment: the look of a step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raydc.config.base import Anneal, Fraction, Positive, Probability, Strict, check_ratio


class ResizedCrop(Strict):
    """A random crop, resized to the full image."""

    use: Literal["resized_crop"]
    min_scale: Fraction | Anneal = 0.08
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    shared: bool = True
    """One draw for all images of the step (the published behaviour), or one for each."""

    @model_validator(mode="after")
    def _ranges(self) -> ResizedCrop:
        if isinstance(self.min_scale, Anneal):
            for name, value in (("from", self.min_scale.start), ("to", self.min_scale.end)):
                if not 0 < value <= 1:
                    raise ValueError(f"min_scale.{name} is {value}; a crop scale is a fraction of the area in (0, 1]")
        check_ratio(self.ratio)
        return self


class PaddedCrop(Strict):
    """A window of the original size in the image with a border of the mean colour."""

    use: Literal["padded_crop"]
    pad: Positive = 4
    """Pixels of border on every side."""
    shared: bool = True


class Flip(Strict):
    """A horizontal mirror image with probability ``p``."""

    use: Literal["flip"]
    p: Probability = 0.5
    shared: bool = True


class Roll(Strict):
    """A circular shift by two integers drawn from [min_offset, max_offset]."""

    use: Literal["roll"]
    min_offset: int = 0
    max_offset: int = Field(32, ge=0)

    @model_validator(mode="after")
    def _ranges(self) -> Roll:
        if self.min_offset > self.max_offset:
            raise ValueError(f"min_offset {self.min_offset} is greater than max_offset {self.max_offset}")
        return self


class PatchShuffle(Strict):
    """The cells of a grid in another order: strips are permuted along one side, then along the other."""

    use: Literal["patch_shuffle"]
    factor: int = Field(2, ge=2)
    shared: bool = True


class Dsa(Strict):
    """Differentiable siamese augmentation: one of several operations a step, alike for all images."""

    use: Literal["dsa"]
    ops: list[Literal["color", "crop", "cutout", "flip", "scale", "rotate"]] = Field(
        ["color", "crop", "cutout", "flip", "scale", "rotate"], min_length=1
    )
    brightness: float = Field(1.0, ge=0)
    saturation: float = Field(2.0, ge=0)
    contrast: float = Field(0.5, ge=0)
    crop: Probability = 0.125
    """Greatest shift, as a share of the side."""
    cutout: Probability = 0.5
    """Side of the square that is set to zero, as a share of the side."""
    flip: Probability = 0.5
    scale: float = Field(1.2, ge=1)
    """Each side is scaled by a factor between 1 / scale and scale."""
    rotate: float = Field(15.0, ge=0, le=180)
    """Greatest angle in degrees."""


Augment = Annotated[ResizedCrop | PaddedCrop | Flip | Roll | PatchShuffle | Dsa, Field(discriminator="use")]
