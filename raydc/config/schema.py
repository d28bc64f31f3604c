"""The configuration of a run: stages as sections, every field typed, unknown keys refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from raydc.config.components import (
    AdamW,
    Augment,
    Discrepancy,
    Initialize,
    Optimizer,
    PixelAdam,
    Strict,
    Views,
)

Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
"""A name that is safe in paths: lower case, digits, dot, dash, underscore."""
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
Selector = Annotated[str, Field(pattern=rf"^!?((in)?\({_LABEL}(, ?{_LABEL})*\)|{_LABEL})$")]
"""What Ray takes for the value of a label: ``a``, ``!a``, ``in(a,b)``, ``!in(a,b)``."""


class MethodCard(Strict):
    """Who published the method, for people and reports; no behaviour hangs on it."""

    name: Name
    title: str = ""
    paper: str = ""
    note: str = ""


class DataConfig(Strict):
    """A real data set, or only the names of its classes where there are no images."""

    name: Name = "data"
    use: Literal["folders", "webdataset", "digits", "generated", "none"]
    train: str | None = None
    """Class folders: their parent folder. WebDataset: a folder of tars or a brace pattern. Any fsspec URL."""
    validation: str | None = None
    """The same for validation; absent: a seeded part of train is held out."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    classes: str | list[str] | Positive | None = None
    """The label space in order: a URL of a text file with one name a line, a list, or a count."""
    titles: str | None = None
    """What the report calls the classes: the URL of a text file of lines NAME<tab>TITLE; absent: their names."""
    subset: list[str | int] | None = None
    """Keep only these classes, by name or index, and number them anew in this order."""
    label_key: str = "cls"
    """WebDataset: the member that holds the class, ``cls``, or the field of the ``json`` member."""
    images: Positive | None = None
    """Generated images of a class; those that are held out for validation are taken from them."""
    image_size: Positive
    resize: Literal["center_crop", "squish"] = "center_crop"
    """How images of another shape reach ``image_size``: short side then centre crop, or aspect ratio ignored."""
    crop_fraction: float = Field(1.0, gt=0, le=1)
    """With ``center_crop``: the side of the crop over the short side (224/256 = 0.875 is the ImageNet protocol)."""

    @model_validator(mode="after")
    def _complete(self) -> DataConfig:
        if self.use in ("folders", "webdataset") and self.train is None:
            raise ValueError(f"use: {self.use} needs 'train', the URL of the training images")
        if self.use in ("none", "generated") and self.classes is None:
            raise ValueError(f"use: {self.use} needs 'classes': a list, a file of names, or their number")
        if (self.use == "generated") != (self.images is not None):
            raise ValueError("use: generated, and no other, needs 'images', their number in a class")
        if self.use in ("digits", "generated", "none") and (self.train or self.validation):
            raise ValueError(f"use: {self.use} takes no 'train' or 'validation' URL")
        return self


class Normalize(Strict):
    """The affine map that a network expects before its first layer: (x - mean) / std on pixels in [0, 1]."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _positive(self) -> Normalize:
        if min(self.std) <= 0:
            raise ValueError(f"std is {list(self.std)}; every component must be positive")
        return self


class Arch(Strict):
    """A network by name."""

    use: Literal["timm", "torchvision", "small"] = "timm"
    name: str
    options: dict[str, Any] = {}


class TrainConfig(Strict):
    """How a network is trained on real images with hard labels."""

    epochs: Positive
    batch: Positive
    optimizer: Optimizer
    views: Views = Views()
    pad: int = Field(0, ge=0)
    """Zero-padding in pixels before a random crop of the original size; 0 for none."""
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


class SqueezeConfig(Strict):
    """The teachers."""

    teachers: Annotated[list[TeacherConfig], Field(min_length=1)]
    workers: Positive = 1
    """Data-parallel workers of a teacher's training. Part of the result: the batch is split over them."""

    @model_validator(mode="after")
    def _unique(self) -> SqueezeConfig:
        names = [t.name for t in self.teachers]
        if len(set(names)) < len(names):
            raise ValueError(f"teacher names must differ, found {names}")
        return self


class BlockConfig(Strict):
    """Which images are optimised together because they share batch statistics."""

    group: Literal["across_classes"] = "across_classes"
    size: Positive = 100


class SynthesizeConfig(Strict):
    """Images from teachers."""

    ipc: Positive
    classes: list[str | int] | None = None
    """Synthesize only these classes of the label space (their indices stay); absent: all."""
    teacher: Name | None = None
    """The teacher to invert; absent: the first."""
    blocks: BlockConfig = BlockConfig()
    initialize: Initialize
    augment: list[Augment] = []
    objective: list[Discrepancy] = []
    optimizer: PixelAdam = PixelAdam(lr=0.1)
    steps: int = Field(ge=0)
    clamp: bool = True
    """Clip pixels to the valid range after every step."""
    log_every: Positive = 50
    snapshots: int = Field(5, ge=0)
    """How many pictures of the way are kept of the first image of each block."""
    checkpoint_every: Positive = 200
    """Steps between checkpoints of a block in flight, unless ``engine.checkpoint_seconds`` asks for fewer."""

    @model_validator(mode="after")
    def _possible(self) -> SynthesizeConfig:
        terms = [term.use for term in self.objective]
        if len(set(terms)) < len(terms):
            raise ValueError(f"objective terms must differ, found {terms}")
        if self.steps > 0 and not any(term.weight > 0 for term in self.objective):
            raise ValueError("steps > 0 needs at least one objective term with weight > 0; use steps: 0 to only select")
        return self


class PackConfig(Strict):
    """How images are stored."""

    format: Literal["png", "jpg"] = "png"
    quality: int = Field(95, ge=1, le=100)
    """JPEG quality; chroma is never subsampled."""
    shard_size: Positive = 1024
    """Images a shard."""


class RelabelConfig(Strict):
    """Soft labels: the teacher's logits for V views of every stored image."""

    name: Name = "soft"
    teacher: Name | None = None
    """The labelling teacher; absent: the first."""
    views: Positive = 300
    view: Views = Views()
    codec: Literal["fp16", "int8"] = "fp16"


class StudentConfig(Strict):
    """A network to be trained from scratch on the condensed data."""

    name: Name
    arch: Arch


class EvaluateConfig(Strict):
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
    lr_zeta: float = Field(1.0, ge=1)
    """The cosine's stretch: the learning rate ends at (1 + cos(pi / zeta)) / 2 of its start."""
    temperature: float = Field(20.0, gt=0)
    test_every: Positive = 10
    """Epochs between tests; the last epoch is always tested and is the headline."""
    workers: Positive = 1
    """Parallel workers; students are dealt to them."""
    verifiers: list[TeacherConfig] = []
    """Independent networks that say whether a picture is of its class, at 1 and at 5."""


class EngineConfig(Strict):
    """Where and how the work runs. Nothing here but ``threads`` changes a byte of the result."""

    workers: Positive = 1
    """Synthesis and labelling actors at most; there are as many as nodes have room for."""
    gpus_per_worker: float = Field(0, ge=0)
    cpus_per_worker: float = Field(1, ge=0)
    resources: dict[str, Annotated[float, Field(gt=0)]] = {}
    """More of what a worker asks of its node, by Ray's names: ``{"accelerator_type:A100": 0.001}``."""
    labels: dict[str, Selector] = {}
    """Labels of the nodes that may be used, as Ray's label selectors: ``{market: spot}``, ``{market: "!spot"}``."""
    threads: Positive = 1
    """Threads of one actor's arithmetic on a CPU. Part of the result: sums are rounded in another order."""
    max_attempts: Positive = 3
    """How often a failing block is tried before it is reported. A lost node costs no attempt."""
    checkpoint_seconds: float = Field(30.0, ge=0)
    """Least time between two checkpoints of a block or a student: what a killed worker loses, with the steps between
    two checkpoints if they take longer. A block of 100 images at 224 px stores 180 MB each time."""
    speculate: bool = True
    """At the end, let idle workers make copies of blocks that slower ones still hold; either may win."""
    storage_patience: float = Field(600.0, ge=0)
    """Seconds for which a storage that does not answer is asked again before its work counts as failed."""

    @model_validator(mode="after")
    def _possible(self) -> EngineConfig:
        named = {"CPU": "cpus_per_worker", "GPU": "gpus_per_worker"}
        for name in named.keys() & self.resources:
            raise ValueError(f"resources holds {name}; set {named[name]} instead")
        if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise ValueError(f"gpus_per_worker is {self.gpus_per_worker:g}; expected a part of one GPU or whole GPUs")
        if not (self.cpus_per_worker or self.gpus_per_worker or self.resources):
            raise ValueError("a worker asks for no CPU, no GPU and no resource: a node would hold any number of them")
        return self


class RunConfig(Strict):
    """One run: a data set, a method and a scale."""

    name: Name
    output: str | None = None
    """The run folder, any fsspec URL; absent: ``runs/<name>``."""
    seed: int = 0
    method: MethodCard
    data: DataConfig
    squeeze: SqueezeConfig
    synthesize: SynthesizeConfig
    pack: PackConfig = PackConfig()
    relabel: RelabelConfig | None = RelabelConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        problems = []
        real = self.data.use != "none"
        teachers = [t.name for t in self.squeeze.teachers]
        labeller = self.relabel.teacher if self.relabel else None
        for section, wanted in (("synthesize", self.synthesize.teacher), ("relabel", labeller)):
            if wanted is not None and wanted not in teachers:
                problems.append(f"{section}.teacher is '{wanted}', but squeeze.teachers are {teachers}")
        if not real:
            problems += [f"data.use is 'none', but squeeze.teachers.{t.name} is to be trained on it"
                         for t in self.squeeze.teachers if t.train]
            if self.synthesize.initialize.use != "noise":
                start = self.synthesize.initialize.use
                problems.append(f"data.use is 'none', so synthesize.initialize cannot be '{start}'")
            if self.evaluate.students:
                problems.append("data.use is 'none': students cannot be tested; set evaluate.students to []")
        if self.synthesize.classes is not None and self.evaluate.students:
            problems.append("synthesize.classes leaves classes out, but evaluate.students would be tested on all; name "
                            "the classes in data.subset, or set evaluate.students to []")
        if self.relabel is None and self.evaluate.students and "soft" in self.evaluate.labels:
            problems.append("evaluate.labels has 'soft' but relabel is null; remove one of them")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def folder(self) -> str:
        """The run folder's URL."""
        return self.output or f"runs/{self.name}"
