"""A plan as items: each number of a run with its stage, its unit, and beside it what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raydc.config.schema import RunConfig
from raydc.plan.cost import IMAGE_BYTES_PER_PIXEL, LABEL_BYTES, RECORD_BYTES, Cost, image_bytes, row_bytes
from raydc.plan.fleet import Fleet
from raydc.plan.statistics import classes_of_block, needed

LABEL_FILE_BYTES = 128 * 2**20
"""Label files are split by view range to stay under this (``engine/relabel.py``)."""
TRAINING = 3
"""Passes of a training step in units of the forward one: forward, gradient of the inputs, gradient of the weights."""
SAME_RATE = "at as many FLOP a second as synthesis, which is optimistic for small batches"


@dataclass(frozen=True)
class Item:
    """One number of a plan."""

    stage: str
    key: str
    """Its name in JSON."""
    label: str
    """Its name for people."""
    value: Any
    unit: str = "count"
    """``count``, ``flop``, ``bytes``, ``hours``, ``seconds``, ``pace`` (in seconds), ``rate`` (a second), ``money``."""
    note: str = ""
    """What it rests on."""


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
    trained: Mapping[str, float] = field(default_factory=dict)
    """Forward FLOP of every teacher that is trained."""
    statistics: Mapping[str, int] = field(default_factory=dict)
    """Channels and tiles of the layers of every teacher that statistics are collected of."""
    students: Mapping[str, float] = field(default_factory=dict)
    """Forward FLOP of every student."""
    train_images: int | None = None
    """Real training images, where they are known without looking at the data."""


@dataclass(frozen=True)
class Plan:
    """The arithmetic of a run, and its items."""

    cost: Cost
    items: list[Item]

    def as_dict(self) -> dict[str, Any]:
        """Every number as a value for JSON, what a run does not do as 0 or null; what they rest on under ``notes``."""
        notes = {i.key: i.note for i in self.items if i.note}
        return {**self.cost.as_dict(), **{i.key: i.value for i in self.items}, "notes": notes}


def items(run: RunConfig, cost: Cost, networks: Networks, outputs: int, fleet: Fleet) -> list[Item]:
    """Every number of a plan, stage by stage.

    Args:
        run: the run.
        cost: its arithmetic.
        networks: what its networks take.
        outputs: size of the label space.
        fleet: the devices.
    """
    flop_rate = fleet.rate * networks.step_flop if fleet.rate and networks.step_flop else None
    found = [
        *_squeeze(run, networks, flop_rate),
        *_statistics(run, cost, networks, outputs),
        *_synthesize(run, cost, networks, fleet),
        *_relabel(run, cost, outputs, flop_rate),
        *_evaluate(run, cost, networks, fleet, flop_rate),
    ]
    return [*found, *_in_all(found, fleet)]


def _in_all(found: Sequence[Item], fleet: Fleet) -> Iterator[Item]:
    hours = [i.value for i in found if i.unit == "hours"]
    if not fleet.rate or None in hours:
        return
    yield Item("in all", "total_hours", "hours", sum(hours), "hours", "one stage after another; transfers not counted")
    if fleet.hourly is not None:
        yield Item("in all", "total_price", "price", sum(hours) * fleet.hourly, "money",
                   "all devices kept through all stages; a cluster that shrinks pays less")  # fmt: skip


def _squeeze(run: RunConfig, networks: Networks, flop_rate: float | None) -> Iterator[Item]:
    given = sum(t.weights is not None for t in run.squeeze.teachers)
    yield Item("squeeze", "teachers", "teachers", len(run.squeeze.teachers),
               note=f"{given} with weights, {len(networks.trained)} trained here")  # fmt: skip
    size = "float32, of the network's own shapes"
    yield Item(
        "squeeze", "teacher_bytes", f"weights of {', '.join(networks.pool)}", 4 * networks.weights, "bytes", size
    )
    if not networks.trained:
        return
    per_image = sum(
        TRAINING * networks.trained[t.name] * t.train.epochs for t in run.squeeze.teachers if t.train is not None
    )
    flop = per_image * networks.train_images if networks.train_images else None
    counted = f"{networks.train_images:,} images x epochs x {TRAINING} forward passes" if flop else \
        "the number of training images is known only from the data"  # fmt: skip
    yield Item("squeeze", "squeeze_flop", "operations", flop, "flop", counted)
    yield Item("squeeze", "squeeze_hours", "hours", _hours(flop, flop_rate), "hours", SAME_RATE)


def _statistics(run: RunConfig, cost: Cost, networks: Networks, outputs: int) -> Iterator[Item]:
    stage, key, label, wanted = "squeeze", "statistics_bytes", "statistics", needed(run)
    if wanted is None:
        uses = any(term.use == "bn_statistics" and term.weight for term in run.synthesize.objective)
        yield Item(stage, key, label, 8 * networks.norm_channels if uses else 0, "bytes",
                   f"mean and variance of {networks.norm_channels:,} BatchNorm channels, float32; a part of the weights"
                   if uses else "no term of the objective needs any")  # fmt: skip
        return
    precision, widths = run.squeeze.statistics.precision, networks.statistics
    found = {name: wanted.bytes(width, outputs, precision) for name, width in widths.items()}
    of = f"{outputs:,} classes x " if wanted.classes else ""
    each = ", ".join(f"{name} {of}{wanted.rows * widths[name]:,}: {size / 1e9:.3g} GB" for name, size in found.items())
    yield Item(stage, key, f"{label}, mapped by every node", sum(found.values()), "bytes", f"{each}; {precision}")
    block = classes_of_block(run.synthesize, cost.classes) if wanted.classes else 0
    read = sum(wanted.bytes(width, block, precision) for width in widths.values())
    held = f"at most {block} classes and all data" if block else "all data"
    yield Item(stage, "statistics_block_bytes", "of which a block reads", read, "bytes", f"{held}, of each teacher")


def _synthesize(run: RunConfig, cost: Cost, networks: Networks, fleet: Fleet) -> Iterator[Item]:
    synth, side = run.synthesize, run.data.image_size
    stage, size = "synthesize", synth.blocks.size
    yield Item(stage, "classes", "classes", cost.classes)
    yield Item(stage, "images", "images", cost.images, note=f"{cost.classes:,} classes x IPC {synth.ipc}")
    yield Item(stage, "blocks", "blocks", cost.blocks, note=block_rule(run, cost))
    yield Item(stage, "image_steps", "image-steps", cost.image_steps, note=_steps(run))
    counted = (
        networks.step_flop
        and f"{networks.step_flop / 1e9:.4g} GFLOP a step of an image at {side} px, forward "
        f"and backward, counted on the shapes of {', '.join(networks.pool)}; frozen weights have no gradient"
    )
    yield Item(stage, "synthesis_flop", "operations", cost.synthesis_flop, "flop", counted or "")
    block = min(size, cost.images)
    yield Item(stage, "checkpoint_bytes", "checkpoints in flight", _checkpoints(run, block), "bytes",
               f"at most {run.engine.workers} x a block of {block} in float32, with two moments of Adam")  # fmt: skip
    yield from _image_bytes(run, cost)
    if fleet.rate:
        yield Item(stage, "synthesis_hours", "hours", cost.synthesis_hours, "hours", fleet.described())
        yield Item(stage, "tail_hours", "and at the end", cost.tail_hours, "hours",
                   "at most: one block, begun last on the slowest device")  # fmt: skip
    else:
        yield Item(stage, "synthesis_hours", "hours", None, "hours", "needs --rate, --fleet or --calibrate")
    note = "of the hours on all devices" if cost.price is not None else "needs a price of every device-hour"
    yield Item(stage, "price", "price", cost.price, "money", note)


def _steps(run: RunConfig) -> str:
    synth = run.synthesize
    late = f", less for those that begin later, in {synth.rounds} rounds" if synth.rounds > 1 else ""
    return f"images x {synth.steps:,} steps{late}"


def block_rule(run: RunConfig, cost: Cost) -> str:
    """How the number of blocks comes about."""
    size, ipc = run.synthesize.blocks.size, run.synthesize.ipc
    groups = -(-cost.classes // size)
    return {
        "across_classes": f"{groups:,} group{'s' if groups > 1 else ''} of up to {size} classes x IPC {ipc}; no block "
        "spans two passes over the classes",
        "within_class": f"{cost.classes:,} classes, up to {size} images of one class a block",
        "class_major": f"{size} images a block, all {ipc} of a class and then those of the next",
    }[run.synthesize.blocks.group]


def _checkpoints(run: RunConfig, block: int) -> int:
    return run.engine.workers * block * 3 * run.data.image_size**2 * 4 * 3


def _image_bytes(run: RunConfig, cost: Cost) -> Iterator[Item]:
    for format in IMAGE_BYTES_PER_PIXEL:
        chosen = format == run.pack.format
        how = f" at quality {run.pack.quality}" if format == "jpg" and chosen else ""
        note = f"{IMAGE_BYTES_PER_PIXEL[format]} bytes a pixel, measured on a 1/f picture at 224 px"
        yield Item("synthesize", "image_bytes" if chosen else f"image_bytes_{format}", f"images as {format}{how}",
                   image_bytes(run, cost.images, format), "bytes", f"{'CHOSEN; ' if chosen else ''}{note}")  # fmt: skip


def _relabel(run: RunConfig, cost: Cost, outputs: int, flop_rate: float | None) -> Iterator[Item]:
    if run.relabel is None or run.relabel.mode == "live":
        return
    stage, views, codec = "relabel", run.relabel.views, run.relabel.codec
    yield Item(stage, "labels", "labels", cost.labels, note=f"{cost.images:,} images x {views} views")
    if cost.sets > 1:
        yield Item(stage, "sets", "label sets", cost.sets, note="the product and the random control, equally large: "
                   "what follows is of one, hours and bytes in all of both")  # fmt: skip
    yield Item(stage, "label_flop", "operations", cost.label_flop, "flop", "one forward pass a label")
    for name in LABEL_BYTES:
        chosen, row = name == codec, row_bytes(name, outputs)
        note = f"{row:,} bytes a label of {outputs:,} classes, {RECORD_BYTES} of them the view's record"
        yield Item(stage, "label_bytes" if chosen else f"label_bytes_{name}", f"labels as {name}",
                   cost.labels * row, "bytes", f"{'CHOSEN; ' if chosen else ''}{note}")  # fmt: skip
    shard = min(cost.images, run.pack.shard_size) * row_bytes(codec, outputs)
    held = min(views, max(1, LABEL_FILE_BYTES // shard))
    yield Item(stage, "label_shards", "image shards", cost.label_shards, note=f"of {run.pack.shard_size:,} images")
    yield Item(stage, "label_file_bytes", "largest label file", held * shard, "bytes",
               f"{held} views of a shard, made in a worker's memory")  # fmt: skip
    yield Item(stage, "stored_bytes", "images and labels in all", cost.sets * (cost.image_bytes + cost.label_bytes),
               "bytes", f"{cost.sets} data set{'s' if cost.sets > 1 else ''}")  # fmt: skip
    flop = cost.sets * cost.label_flop if cost.label_flop else None
    yield Item(stage, "label_hours", "hours", _hours(flop, flop_rate), "hours", SAME_RATE)


def _evaluate(run: RunConfig, cost: Cost, networks: Networks, fleet: Fleet, flop_rate: float | None) -> Iterator[Item]:
    judged, stage = run.evaluate, "evaluate"
    if not judged.students:
        return
    runs = len(judged.seeds) * len(judged.data) * len(judged.labels)
    yield Item(stage, "students", "students", cost.students,
               note=f"{len(judged.students)} networks x {len(judged.data)} data x {len(judged.labels)} kinds of labels "
               f"x {len(judged.seeds)} seeds")  # fmt: skip
    seen = judged.epochs * cost.images
    yield Item(stage, "student_images", "images a student", seen, note=f"{judged.epochs} epochs of {cost.images:,}")
    flops = {name: TRAINING * flop * seen for name, flop in networks.students.items()}
    total = sum(flops.values()) * runs
    note = f"{TRAINING} forward passes an image; tests and live labels not counted"
    yield Item(stage, "student_flop", "operations", total, "flop", note)
    hours = None
    if flop_rate:
        # A student is trained by one device alone, and no more of them at once than the config says.
        at_work = min(judged.workers, cost.students, fleet.devices)
        hours = max(total / (at_work / fleet.devices), max(flops.values()) * fleet.devices) / flop_rate / 3600
    note = f"at most {judged.workers} students at once; {SAME_RATE}"
    yield Item(stage, "student_hours", "hours", hours, "hours", note)


def _hours(flop: float | None, flop_rate: float | None) -> float | None:
    return flop / flop_rate / 3600 if flop and flop_rate else None
