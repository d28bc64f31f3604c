"""Views: what a teacher or a student sees of a stored image."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raydc.config.base import Fraction, Probability, Strict, check_ratio


class CutMix(Strict):
    """A box of a partner image pasted in, of relative area 1 - lambda, lambda ~ Beta(alpha, alpha)."""

    use: Literal["cutmix"]
    alpha: float = Field(1.0, gt=0)


class MixUp(Strict):
    """The image and a partner, weighted lambda and 1 - lambda, lambda ~ Beta(alpha, alpha)."""

    use: Literal["mixup"]
    alpha: float = Field(0.8, gt=0)


Mix = Annotated[CutMix | MixUp, Field(discriminator="use")]


class RandAugment(Strict):
    """Some operations drawn from torchvision's fourteen, each at one magnitude."""

    ops: int = Field(2, ge=1, le=2)
    magnitude: int = Field(9, ge=0, le=30)
    p: Probability = 1.0
    """With which each of them is applied at all."""


class Views(Strict):
    """The distribution that view records are drawn from."""

    min_scale: Fraction = 0.08
    max_scale: Fraction = 1.0
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: Probability = 0.5
    shuffle: int = Field(1, ge=1, le=2)
    """Strips along each side that are permuted before the crop; 1: none."""
    randaugment: RandAugment | None = None
    mix: Mix | None = None

    @model_validator(mode="after")
    def _ranges(self) -> Views:
        if self.min_scale > self.max_scale:
            raise ValueError(f"min_scale {self.min_scale} is greater than max_scale {self.max_scale}")
        check_ratio(self.ratio)
        return self
