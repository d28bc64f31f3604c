"""The squeeze section: the teachers, and what is known of the real data under them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from raydc.config.axes.optimize import Training
from raydc.config.axes.views import Views
from raydc.config.base import Name, Positive, Probability, SharedFolder, Strict
from raydc.config.stages.networks import Arch, Normalize


class TrainConfig(Training):
    """How a network is trained on real images with hard labels."""

    batch: Positive
    views: Views = Views()
    pad: int = Field(0, ge=0)
    """Zero-padding in pixels before a random crop of the original size; 0 for none."""
    cutout: Probability = 0.0
    """Side of a square of random colour painted into every view, as a share of the image's side."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    checkpoint_every: Positive = 5
    """Epochs between checkpoints."""


class TeacherConfig(Strict):
    """A frozen network: weights by URL, or trained on the spot."""

    name: Name
    arch: Arch
    normalize: Normalize = Normalize()
    weights: str | None = None
    """URL of a state dict (safetensors, or a torch file without code); ``package:NAME/PATH``: a file of a package."""
    keys: Literal["by_name", "by_order"] = "by_name"
    """How tensors of ``weights`` are matched; ``by_order`` takes them in order and demands equal shapes."""
    classes: str | list[str] | None = None
    """The teacher's own class list where it is not the data set's; its outputs are then picked by class name."""
    train: TrainConfig | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> TeacherConfig:
        if (self.weights is None) == (self.train is None):
            raise ValueError(f"teacher '{self.name}' needs exactly one of 'weights' (a URL) and 'train' (a recipe)")
        return self


class StatisticsConfig(Strict):
    """How the statistics of the real data are collected; which of them, the terms of the objective say."""

    views: Views = Views()
    """What the network sees of each image: a resized crop of the image as it is stored. ``min_scale: 1``: no such crop,
    the image comes as the data set's resize rule brings it."""
    pad: int = Field(0, ge=0)
    """Zero-padding in pixels, after that, before a random window of the old size; 0 for none."""
    passes: Positive = 1
    """How often all images are looked at."""
    precision: Literal["fp32", "fp16"] = "fp32"
    """In which moments are stored; they are summed in fp64."""
    batch: Positive = 128
    """Images a forward pass. A run that has begun may lower it: the sums are the same but for the rounding of the
    network's own arithmetic, and what a run has found once it keeps."""
    store: SharedFolder | None = None
    """URL of a folder that several runs share, where statistics are found by what they depend on; absent: the run's."""

    @field_validator("views")
    @classmethod
    def _of_one_image(cls, views: Views) -> Views:
        if views.mix is not None:
            raise ValueError(f"mix is {views.mix.use}, but a mixture of two images is of no class. Leave it out")
        if views.shuffle > 1 or views.randaugment is not None:
            raise ValueError("shuffle and randaugment are not done where statistics are collected. Leave them out")
        return views


class SqueezeConfig(Strict):
    """The teachers."""

    teachers: Annotated[list[TeacherConfig], Field(min_length=1)]
    statistics: StatisticsConfig = StatisticsConfig()
    workers: Positive = 1
    """Data-parallel workers of a teacher's training. They train as one would, BatchNorm and short batches included, but
    sums are rounded in another order and dropout is drawn apart: part of the result in its last digits."""

    @model_validator(mode="after")
    def _unique(self) -> SqueezeConfig:
        names = [t.name for t in self.teachers]
        if len(set(names)) < len(names):
            raise ValueError(f"teacher names must differ, found {names}")
        return self
