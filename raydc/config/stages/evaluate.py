"""The evaluate section: the protocol, the students and the controls."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raydc.config.axes.optimize import AdamW, Optimizer, Training
from raydc.config.base import Decay, Positive, Strict, Weight
from raydc.config.stages.networks import StudentConfig
from raydc.config.stages.squeeze import TeacherConfig


class KL(Strict):
    """The divergence of the student's answer from the teacher's, both at one temperature."""

    use: Literal["kl"] = "kl"
    temperature: float = Field(20.0, gt=0)
    squared: bool = False
    """Multiply by the square of the temperature."""


class MseCe(Strict):
    """The mean squared difference of logits, and a share of cross-entropy with the class."""

    use: Literal["mse_ce"]
    gamma: Weight = 0.1
    label: Literal["base", "mixed"] = "base"
    """Of a mixed view: the class of the image itself, or both classes by their shares."""


Loss = Annotated[KL | MseCe, Field(discriminator="use")]


class WeightAverage(Strict):
    """A running average of the student's weights, which is what is tested."""

    decay: Decay = 0.99
    """For each step."""
    buffers: bool = True
    """Average BatchNorm's statistics too, instead of taking the live ones."""
    warmup: bool = True
    """Begin with min(decay, (1 + t) / (10 + t)) at step t, so that the first weights are soon forgotten."""


class EvaluateConfig(Training):
    """The protocol, the students and the controls."""

    students: list[StudentConfig] = []
    data: list[Literal["condensed", "random", "full"]] = ["condensed", "random"]
    """What students are trained on: the product, real images of equal number, all real images."""
    labels: list[Literal["soft", "hard"]] = ["soft", "hard"]
    seeds: Annotated[list[int], Field(min_length=1)] = [0, 1, 2]
    epochs: Positive = 300
    """Epochs over the condensed set; every other set is trained for the same number of steps."""
    batch: int = Field(128, ge=2)
    """Images a step; two at least, because BatchNorm has no statistics of one."""
    optimizer: Optimizer = AdamW(use="adamw", lr=1e-3, weight_decay=0.01)
    loss: Loss = KL()
    """Against soft labels; hard ones are cross-entropy."""
    average: WeightAverage | None = None
    test_every: Positive = 10
    """Epochs between tests; the last epoch is always tested and is the headline."""
    workers: Positive = 1
    """Parallel workers; students are dealt to them."""
    verifiers: list[TeacherConfig] = []
    """Independent networks that say whether a picture is of its class, at 1 and at 5."""
