"""Optimisers, of pixels and of networks, and how their learning rates move."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raydc.config.base import Decay, Positive, Strict, Weight


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
    weight_decay: Weight = 0.0
    decay: Literal["all", "matrices"] = "all"
    """Which tensors decay: all, or those of two or more dimensions."""


class AdamW(Strict):
    """AdamW; weight decay applies only to tensors of two or more dimensions."""

    use: Literal["adamw"]
    lr: float = Field(gt=0)
    weight_decay: Weight = 0.0


class Adam(Strict):
    """Adam with L2 regularisation in the gradient, of tensors of two or more dimensions only."""

    use: Literal["adam"]
    lr: float = Field(gt=0)
    weight_decay: Weight = 0.0


Optimizer = Annotated[Sgd | AdamW | Adam, Field(discriminator="use")]


class Cosine(Strict):
    """(1 + cos(pi t / (zeta T))) / 2: to zero with zeta 1, to a half with 2."""

    use: Literal["cosine"] = "cosine"
    zeta: float = Field(1.0, ge=1)


class Ssrs(Strict):
    """Smooth, then steep: the cosine of ``zeta`` for five sixths of the epochs, then a line to zero."""

    use: Literal["ssrs"]
    zeta: float = Field(2.0, ge=1)


class Linear(Strict):
    """1 - t / (zeta T)."""

    use: Literal["linear"]
    zeta: float = Field(1.0, ge=1)


class MultiStep(Strict):
    """A factor at each milestone, which are fractions of the epochs."""

    use: Literal["multistep"]
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = Field(min_length=1)
    factor: float = Field(0.5, gt=0, lt=1)


class Constant(Strict):
    """No change."""

    use: Literal["constant"]


class OneCycle(Strict):
    """Up by a cosine from 1 / ``div`` to 1 in the first share of the epochs, then down by a cosine to nearly zero."""

    use: Literal["one_cycle"]
    rise: float = Field(0.1, gt=0, lt=1)
    div: float = Field(20.0, gt=1)


Schedule = Annotated[Cosine | Ssrs | Linear | MultiStep | Constant | OneCycle, Field(discriminator="use")]


class Training(Strict):
    """What the training of any network is made of."""

    epochs: Positive
    optimizer: Optimizer
    schedule: Schedule = Cosine()
    warmup: int = Field(0, ge=0)
    """Epochs in which the learning rate rises by a line from a hundredth; the schedule runs over the rest."""

    @model_validator(mode="after")
    def _schedule_has_room(self) -> Training:
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup is {self.warmup} of {self.epochs} epochs; it must leave some to the schedule")
        return self
