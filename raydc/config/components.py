"""The axes of the design space: one frozen record for each component that a YAML file can name with ``use:``.

Each record holds the component's settings and nothing else; the code that gives it meaning lives in a file of the
same name under ``condense/`` (or ``sources/``, ``labels/``). Sources of the defaults are in that file's card.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """A frozen record that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class Anneal(Strict):
    """A number that moves from one value to another over the steps of a block."""

    start: float = Field(alias="from")
    end: float = Field(alias="to")
    shape: Literal["cosine", "linear", "step"] = "cosine"
    milestone: float = Field(1.0, gt=0, le=1)
    """The fraction of the steps after which ``to`` is reached and kept."""


Fraction = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
"""The factor of a running average."""


def _check_ratio(ratio: tuple[float, float]) -> None:
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(f"ratio is {list(ratio)}; expected two positive numbers, the smaller first")


# ---- initialize: where the first pixels come from --------------------------------------------------------------
class Noise(Strict):
    """Standard normal noise in the normalised space of the teacher."""

    use: Literal["noise"]


class Real(Strict):
    """Real images of the class, drawn without replacement."""

    use: Literal["real"]


Initialize = Annotated[Noise | Real, Field(discriminator="use")]


# ---- augment: the look of a step -------------------------------------------------------------------------------
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
        _check_ratio(self.ratio)
        return self


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


Augment = Annotated[ResizedCrop | Flip | Roll, Field(discriminator="use")]


# ---- discrepancy: the terms of the synthesis objective ---------------------------------------------------------
class CrossEntropy(Strict):
    """The teacher's cross-entropy with the class of the image."""

    use: Literal["cross_entropy"]
    weight: float = Field(1.0, ge=0)


class BNStatistics(Strict):
    """Distance of the batch statistics at each BatchNorm input from the teacher's running statistics."""

    use: Literal["bn_statistics"]
    weight: float = Field(0.01, ge=0)
    first_multiplier: float = Field(10.0, ge=0)


Discrepancy = Annotated[CrossEntropy | BNStatistics, Field(discriminator="use")]


# ---- optimisers and schedules ----------------------------------------------------------------------------------
class PixelAdam(Strict):
    """Adam on the pixels, learning rate falling by a cosine over the steps."""

    use: Literal["adam"] = "adam"
    lr: float = Field(gt=0)
    betas: tuple[Decay, Decay] = (0.5, 0.9)
    eps: float = Field(1e-8, gt=0)


class Sgd(Strict):
    """Stochastic gradient descent with momentum."""

    use: Literal["sgd"]
    lr: float = Field(gt=0)
    momentum: Decay = 0.9
    weight_decay: float = Field(0.0, ge=0)


class AdamW(Strict):
    """AdamW; weight decay applies only to tensors of two or more dimensions."""

    use: Literal["adamw"]
    lr: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)


Optimizer = Annotated[Sgd | AdamW, Field(discriminator="use")]


# ---- views: what a teacher or a student sees of a stored image -------------------------------------------------
class CutMix(Strict):
    """A box of a partner image pasted in, of relative area 1 - lambda, lambda ~ Beta(alpha, alpha)."""

    use: Literal["cutmix"]
    alpha: float = Field(1.0, gt=0)


class Views(Strict):
    """The distribution that view records are drawn from."""

    min_scale: Fraction = 0.08
    max_scale: Fraction = 1.0
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: Probability = 0.5
    mix: CutMix | None = None

    @model_validator(mode="after")
    def _ranges(self) -> Views:
        if self.min_scale > self.max_scale:
            raise ValueError(f"min_scale {self.min_scale} is greater than max_scale {self.max_scale}")
        _check_ratio(self.ratio)
        return self
