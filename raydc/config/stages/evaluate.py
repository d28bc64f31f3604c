"""The evaluate section: the protocol, the students and the controls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from raydc.config.axes.optimize import AdamW, Optimizer, Training
from raydc.config.base import Decay, Name, Positive, SharedFolder, Strict, Weight
from raydc.config.stages.judging import HardViews, Select
from raydc.config.stages.networks import StudentConfig
from raydc.config.stages.squeeze import TeacherConfig


class Dense(Strict):
    """All classes, as the label gives them."""

    use: Literal["dense"] = "dense"


class Smoothed(Strict):
    """The k likeliest classes; the rest of the mass spread evenly over the others (marginal smoothing)."""

    use: Literal["smoothed"]
    k: Positive


class Renormalized(Strict):
    """The k likeliest classes alone, their mass brought to 1 (marginal re-normalisation)."""

    use: Literal["renormalized"]
    k: Positive


Rule = Annotated[Dense | Smoothed | Renormalized, Field(discriminator="use")]


class Stepped(Strict):
    """A temperature that falls by a factor every so many epochs, down to a floor."""

    start: float = Field(gt=0)
    factor: float = Field(0.7, gt=0, lt=1)
    every: Positive = 30
    least: float = Field(2.0, gt=0)

    def at(self, epoch: int) -> float:
        """The temperature of an epoch (from 0)."""
        return max(self.least, self.start * self.factor ** (epoch // self.every))


class KL(Strict):
    """The divergence of the student's answer from the teacher's at a temperature."""

    use: Literal["kl"] = "kl"
    temperature: Annotated[float, Field(gt=0)] | Stepped = 20.0
    student: float | None = Field(None, gt=0)
    """The student's temperature; absent: the teacher's."""
    target: Rule = Dense()
    """What is made of a row of logits."""
    squared: bool = False
    """Multiply by the square of the teacher's temperature."""

    def temperatures(self, epoch: int) -> tuple[float, float]:
        """The teacher's and the student's in an epoch (from 0)."""
        teacher = self.temperature.at(epoch) if isinstance(self.temperature, Stepped) else self.temperature
        return teacher, self.student or teacher


class MseCe(Strict):
    """The mean squared difference of logits, and a share of cross-entropy with the class."""

    use: Literal["mse_ce"]
    gamma: Weight = 0.1
    label: Literal["base", "mixed"] = "base"
    """Of a mixed view: the class of the image itself, or both classes by their shares."""


Loss = Annotated[KL | MseCe, Field(discriminator="use")]


class Labels(Strict):
    """Which stored labels students learn from, and how: a point of the curve of accuracy against bytes."""

    set: Name
    """A label set of the data sets."""
    views: Positive | None = None
    """Of every image, the first so many that the set has; absent: all. What the others weigh is not counted."""
    draw: Literal["in_turn", "random"] = "in_turn"
    """Which view of a shard an epoch shows: the next one, or one that is drawn."""
    loss: Loss | None = None
    """Against these labels; absent: that of the protocol."""
    name: Name | None = None

    @property
    def called(self) -> str:
        """Its name in tables and plots."""
        return self.name or (self.set if self.views is None else f"{self.set}-v{self.views}")


def _set(value: Any) -> Any:
    """``soft`` is short for ``{set: soft}``."""
    return {"set": value} if isinstance(value, str) else value


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
    label_sets: list[Annotated[Labels, BeforeValidator(_set)]] = []
    """Stored soft labels to learn from, one student each; absent: those that ``relabel`` names, all of them in turn."""
    augment: list[Literal["protocol", "none"]] = ["protocol"]
    """What students see: the views of the protocol, or whole images as they are stored, unmixed."""
    views: HardViews | None = None
    """Of hard labels; absent: the views of ``relabel``, so that only the targets differ."""
    seeds: Annotated[list[int], Field(min_length=1)] = [0, 1, 2]
    epochs: Positive = 300
    """Epochs over the condensed set; every other set is trained for the same number of steps."""
    batch: int = Field(128, ge=2)
    """Images a step; two at least, because BatchNorm has no statistics of one."""
    optimizer: Optimizer = AdamW(use="adamw", lr=1e-3, weight_decay=0.01)
    loss: Loss = KL()
    """Against soft labels; hard ones are cross-entropy."""
    average: WeightAverage | None = None
    select: Select | None = None
    """Choose the learning rate on held-out training images; absent: ``optimizer.lr`` it is."""
    test_every: Positive = 10
    """Epochs between tests; the last epoch is always tested and is the headline."""
    workers: Positive = 1
    """Students that are trained at once; all are dealt to them."""
    split: Positive = 1
    """Data-parallel workers of one student, so that there are ``workers`` times as many in all. They share out each
    batch and train as one would: results agree but for the order of sums and the draws of dropout, and one that was
    made with another ``split`` counts as the same."""
    store: SharedFolder | None = None
    """URL of a folder that several runs share, where results are found by all that they depend on; absent: none."""
    verifiers: list[TeacherConfig] = []
    """Independent networks that say whether a picture is of its class, at 1 and at 5."""

    @model_validator(mode="after")
    def _named_apart(self) -> EvaluateConfig:
        names = [labels.called for labels in self.label_sets]
        if len(set(names)) < len(names):
            raise ValueError(f"label_sets need names of their own in tables, found {names}; give some a 'name'")
        return self

    def effective(self) -> dict[str, Any]:
        """The settings that a student's numbers depend on: neither those that a job names, nor where it is trained."""
        whose = {"students", "data", "labels", "label_sets", "augment", "seeds", "workers", "split", "verifiers",
                 "store"}  # fmt: skip
        return self.model_dump(mode="json", exclude=whose)

    @property
    def kinds(self) -> int:
        """Kinds of training of one network: data, labels and augmentation."""
        return len(self.data) * len(self.labels) * len(self.augment)

    @property
    def repeats(self) -> int:
        """Trainings of each kind: one a seed, and one for every learning rate that is tried."""
        return len(self.seeds) + (len(self.select.lr) if self.select else 0)
