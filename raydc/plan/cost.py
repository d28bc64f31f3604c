"""What a run will take, before anything is spent: images, blocks, operations, bytes, hours, money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from raydc.config.axes.codec import Codec
from raydc.config.schema import RunConfig
from raydc.labels.codecs import codec_of
from raydc.plan.blocks import GROUPS, units
from raydc.plan.fleet import Fleet

RECORD_BYTES = 24
"""One view record (``labels/views.py``)."""
IMAGE_BYTES_PER_PIXEL = {"png": 2.4, "jpg": 1.4}
"""Measured on a 1/f picture at 224: PNG 119 kB, JPEG 95 4:4:4 69 kB (data-format study, section 3)."""


@dataclass(frozen=True)
class Networks:
    """What is counted on the networks' own shapes; FLOP of one image's forward pass, a multiply-add as two."""

    pool: tuple[str, ...]
    """The teachers that guide the pixels."""
    step_flop: float | None
    """Of one step of one image: the pool's mean where teachers take turns, its sum where all look at each step."""
    label_flop: float | None
    """Of one label: the forward passes of all teachers that label."""
    norm_channels: int
    """Channels of all BatchNorm layers of the pool together."""
    weights: int
    """Parameters of the pool."""
    forward: Mapping[str, float] = field(default_factory=dict)
    """Forward FLOP of every teacher of the run."""
    statistics: Mapping[str, int] = field(default_factory=dict)
    """Channels and tiles of the layers of every teacher that statistics are collected of."""
    averages: int = 0
    """Numbers that the terms of the objective keep running averages of, under all teachers of the pool."""
    students: Mapping[str, float] = field(default_factory=dict)
    """Forward FLOP of every student."""
    train_images: int | None = None
    """Real training images, where they are known without looking at the data."""


@dataclass(frozen=True)
class Cost:
    """The arithmetic of a run; every field is a total, of the product alone where ``sets`` says there are more."""

    classes: int
    images: int
    blocks: int
    launches: int
    """What workers take at once: blocks, or several of them together."""
    launch_images: int
    """Of the largest."""
    image_steps: int
    synthesis_flop: float | None
    labels: int
    label_flop: float | None
    image_bytes: int
    label_bytes: int
    label_shards: int
    sets: int
    """Data sets that are made alike: the product, and the random control where it is asked for."""
    students: int
    live_labels: int
    """Labels that are made while students learn: of every view that soft-label students see of unlabelled images."""
    live_label_flop: float | None
    synthesis_hours: float | None
    tail_hours: float | None
    price: float | None
    """Of synthesis."""

    def as_dict(self) -> dict[str, Any]:
        """The cost as plain values for JSON."""
        return asdict(self)


def cost(
    run: RunConfig, classes: int, outputs: int, step_flop: float | None, label_flop: float | None, fleet: Fleet
) -> Cost:
    """Count a run.

    Args:
        run: the run.
        classes: how many classes are synthesized.
        outputs: size of the label space, the width of a soft label.
        step_flop: operations of one step of one image (1 multiply-add = 2), if known.
        label_flop: operations of one label, if known.
        fleet: devices at work; without their rates hours and price stay open.
    """
    synth, judged = run.synthesize, run.evaluate
    blocks = GROUPS[synth.blocks.group](range(classes), synth.ipc, synth.blocks.size)
    taken = units(blocks, synth, run.engine)
    longest = max((sum(map(len, unit)) for unit in taken), default=0)
    images = classes * synth.ipc
    image_steps = classes * sum(synth.steps - synth.begins(index) for index in range(synth.ipc))
    views = max((s.views for s in run.relabel.sets), default=0) if run.relabel else 0
    hours, live = fleet.hours(image_steps), images * judged.epochs * live_students(run)
    return Cost(
        classes=classes,
        images=images,
        blocks=len(blocks),
        launches=len(taken),
        launch_images=longest,
        image_steps=image_steps,
        synthesis_flop=step_flop * image_steps if step_flop else None,
        labels=images * views,
        label_flop=label_flop * images * views if label_flop else None,
        image_bytes=image_bytes(run, images, run.pack.format),
        label_bytes=set_bytes(run, images, outputs),
        label_shards=-(-images // run.pack.shard_size) if views else 0,
        sets=2 if judged.students and "random" in judged.data else 1,
        students=len(judged.students) * trainings(run) * judged.repeats,
        live_labels=live,
        live_label_flop=label_flop * live if label_flop else None,
        synthesis_hours=hours,
        tail_hours=fleet.tail_hours(longest * synth.steps) if longest else None,
        price=hours * fleet.hourly if hours is not None and fleet.hourly is not None else None,
    )


def trainings(run: RunConfig) -> int:
    """Kinds of training of one network: data, labels and augmentation, and every label set that there is beside one."""
    judged = run.evaluate
    sets = len(judged.label_sets or run.label_sets)
    learn = "soft" in judged.labels and "protocol" in judged.augment
    stored = sum(name != "full" for name in judged.data) if learn else 0
    return judged.kinds + stored * max(0, sets - 1)


def live_students(run: RunConfig) -> int:
    """Students that learn from labels nobody has stored: of real images in full, of whole images, or of any where none
    are kept."""
    judged = run.evaluate
    if run.relabel is None or "soft" not in judged.labels:
        return 0
    live = [1 for name in judged.data for seen in judged.augment
            if run.relabel.mode == "live" or name == "full" or seen == "none"]  # fmt: skip
    return len(judged.students) * judged.repeats * len(live)


def row_bytes(codec: Codec, outputs: int) -> int:
    """Bytes of one label of one view, its record included."""
    return RECORD_BYTES + codec_of(**codec.model_dump()).row_dtype(outputs).itemsize


def set_bytes(run: RunConfig, images: int, outputs: int) -> int:
    """Bytes of all label sets that a data set of so many images is given."""
    sets = run.relabel.sets if run.relabel else []
    return sum(images * s.views * row_bytes(s.codec, outputs) for s in sets)


def image_bytes(run: RunConfig, images: int, format: str) -> int:
    """Bytes of so many encoded images."""
    return round(images * run.data.image_size**2 * IMAGE_BYTES_PER_PIXEL[format])
