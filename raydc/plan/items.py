"""A plan as items: each number of a run with its stage, its unit, and beside it what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from raydc.config.schema import RunConfig
from raydc.plan.cost import (
    IMAGE_BYTES_PER_PIXEL,
    Cost,
    Networks,
    image_bytes,
    live_students,
    row_bytes,
    trainings,
)
from raydc.plan.fleet import Fleet
from raydc.plan.item import Item
from raydc.plan.labels import label_bytes
from raydc.plan.passes import NOT_KNOWN, Pass, Passes
from raydc.plan.statistics import classes_of_block, needed

LABEL_FILE_BYTES = 128 * 2**20
"""Label files are split by view range to stay under this (``engine/relabel.py``)."""
TRAINING = 3
"""Passes of a training step in units of the forward one: forward, gradient of the inputs, gradient of the weights."""
SAME_RATE = "at as many FLOP a second as synthesis, which is optimistic for small batches"


@dataclass(frozen=True)
class Plan:
    """The arithmetic of a run, and its items."""

    cost: Cost
    items: list[Item]

    def as_dict(self) -> dict[str, Any]:
        """Every number as a value for JSON, what a run does not do as 0 or null; what they rest on under ``notes``."""
        notes = {i.key: i.note for i in self.items if i.note}
        return {**self.cost.as_dict(), **{i.key: i.value for i in self.items}, "notes": notes}


def items(run: RunConfig, cost: Cost, networks: Networks, passes: Passes, outputs: int, fleet: Fleet) -> list[Item]:
    """Every number of a plan, stage by stage.

    Args:
        run: the run.
        cost: its arithmetic.
        networks: what its networks take.
        passes: over the real images, before the first step.
        outputs: size of the label space.
        fleet: the devices.
    """
    flop_rate = fleet.rate * networks.step_flop if fleet.rate and networks.step_flop else None
    found = [
        *_squeeze(run, networks, flop_rate),
        *_statistics(run, cost, networks, outputs),
        *_pass("squeeze", "statistics", passes.statistics, flop_rate),
        *_synthesize(run, cost, networks, fleet),
        *_pass("synthesize", "selection", passes.selection, flop_rate),
        *_priced(cost, passes, fleet, flop_rate),
        *_relabel(run, cost, outputs, flop_rate),
        *_evaluate(run, cost, networks, fleet, flop_rate),
    ]
    return [*found, *_in_all(found, fleet)]


def _in_all(found: Sequence[Item], fleet: Fleet) -> Iterator[Item]:
    if not fleet.rate:
        return
    hours = {i.key: i.value for i in found if i.unit == "hours"}
    known = sum(value for value in hours.values() if value is not None)
    lacking = ", ".join(k.removesuffix("_hours").replace("_", " ") for k, value in hours.items() if value is None)
    without = f"NOT KNOWN: {lacking}. All others together: "
    counted = f"{without}{known:,.3g} h" if lacking else "one stage after another"
    yield Item("in all", "total_hours", "hours", None if lacking else known, "hours",
               f"{counted}; transfers not counted")  # fmt: skip
    if fleet.hourly is not None:
        price = known * fleet.hourly
        yield Item("in all", "total_price", "price", None if lacking else price, "money",
                   (f"{without}{price:,.2f}; " if lacking else "") + "all devices kept through all stages; a cluster "
                   "that shrinks pays less")  # fmt: skip


def _pass(stage: str, key: str, found: Pass | None, flop_rate: float | None) -> Iterator[Item]:
    """A pass over the real images."""
    if found is None:
        return
    yield Item(stage, f"{key}_looks", f"{key}, forward passes", found.looks, note=found.note)
    yield Item(stage, f"{key}_flop", f"{key}, operations", found.flop, "flop", "without gradients")
    pace = _hours(found.each, flop_rate)
    open_ = f"{1e6 * pace:.3g} h for every million images; " if pace and found.images is None else ""
    yield Item(stage, f"{key}_hours", f"{key}, hours", _hours(found.flop, flop_rate), "hours",
               f"{open_}{SAME_RATE}; reading and decoding not counted")  # fmt: skip


def _priced(cost: Cost, passes: Passes, fleet: Fleet, flop_rate: float | None) -> Iterator[Item]:
    """The price of synthesis, with what is chosen for it."""
    price, note = cost.price, "of the hours on all devices" if cost.price is not None else ""
    if price is not None and fleet.hourly is not None and passes.selection:
        chosen = _hours(passes.selection.flop, flop_rate)
        price = None if chosen is None else price + chosen * fleet.hourly
        note = f"{note}, selection included" if chosen is not None else "the hours of selection are not known"
    yield Item("synthesize", "price", "price", price, "money", note or "needs a price of every device-hour")


def _squeeze(run: RunConfig, networks: Networks, flop_rate: float | None) -> Iterator[Item]:
    given = sum(t.weights is not None for t in run.squeeze.teachers)
    trained = {t.name: t.train for t in run.squeeze.teachers if t.train is not None}
    yield Item("squeeze", "teachers", "teachers", len(run.squeeze.teachers),
               note=f"{given} with weights, {len(trained)} trained here")  # fmt: skip
    size = "float32, of the network's own shapes"
    yield Item(
        "squeeze", "teacher_bytes", f"weights of {', '.join(networks.pool)}", 4 * networks.weights, "bytes", size
    )
    if not trained:
        return
    per_image = sum(TRAINING * networks.forward[name] * recipe.epochs for name, recipe in trained.items())
    flop = per_image * networks.train_images if networks.train_images else None
    counted = f"{networks.train_images:,} images x epochs x {TRAINING} forward passes" if flop else NOT_KNOWN
    yield Item("squeeze", "squeeze_flop", "operations", flop, "flop", counted)
    yield Item("squeeze", "squeeze_hours", "hours", _hours(flop, flop_rate), "hours", SAME_RATE)


def _statistics(run: RunConfig, cost: Cost, networks: Networks, outputs: int) -> Iterator[Item]:
    stage, key, label, wanted = "squeeze", "statistics_bytes", "statistics", needed(run)
    if wanted is None:
        terms = run.synthesize.objective if run.synthesize.steps else []
        uses = any(term.use == "bn_statistics" and term.weight for term in terms)
        yield Item(stage, key, label, 8 * networks.norm_channels if uses else 0, "bytes",
                   f"mean and variance of {networks.norm_channels:,} BatchNorm channels, float32; a part of the weights"
                   if uses else "none are needed")  # fmt: skip
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
    stage = "synthesize"
    yield Item(stage, "classes", "classes", cost.classes)
    yield Item(stage, "images", "images", cost.images, note=f"{cost.classes:,} classes x IPC {synth.ipc}")
    yield Item(stage, "blocks", "blocks", cost.blocks, note=block_rule(run, cost))
    together = run.engine.blocks_per_launch
    if together > 1:
        yield Item(stage, "launches", "launches", cost.launches, note=f"up to {together} blocks of one size")
    yield Item(stage, "image_steps", "image-steps", cost.image_steps, note=_steps(run))
    counted = ""
    if networks.step_flop and synth.steps:
        counted = (f"{networks.step_flop / 1e9:.4g} GFLOP a step of an image at {side} px, forward and backward, "
                   f"counted on the shapes of {', '.join(networks.pool)}; frozen weights have no gradient")  # fmt: skip
    yield Item(stage, "synthesis_flop", "operations", cost.synthesis_flop, "flop", counted)
    pictures = cost.launch_images
    yield Item(stage, "checkpoint_bytes", "checkpoints in flight", _checkpoints(run, pictures, networks), "bytes",
               _checkpointed(run, pictures))  # fmt: skip
    yield from _image_bytes(run, cost)
    if fleet.rate:
        yield Item(stage, "synthesis_hours", "hours", cost.synthesis_hours, "hours", fleet.described())
        yield Item(stage, "tail_hours", "and at the end", cost.tail_hours, "hours",
                   f"at most: {_unit(run)}, begun last on the slowest device")  # fmt: skip
    else:
        yield Item(stage, "synthesis_hours", "hours", None, "hours", "needs --rate, --fleet or --calibrate")


def _unit(run: RunConfig) -> str:
    """What a worker takes at once, in words."""
    count = run.engine.blocks_per_launch
    return "a block" if count == 1 else f"a launch of {count} blocks"


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


def _checkpoints(run: RunConfig, images: int, networks: Networks) -> int:
    if not run.synthesize.steps:
        return 0
    blocks = run.engine.blocks_per_launch
    tensors = 4 if _flat(run) else 3
    return run.engine.workers * 4 * (tensors * images * 3 * run.data.image_size**2 + blocks * networks.averages)


def _checkpointed(run: RunConfig, images: int) -> str:
    if not run.synthesize.steps:
        return "no steps are taken"
    averaged = [term.use for term in run.synthesize.objective if term.weight and getattr(term, "average", None)]
    kept = ["two moments of Adam", *(["the average of flatness"] if _flat(run) else []),
            *([f"those of {', '.join(averaged)}"] if averaged else [])]  # fmt: skip
    return f"at most {run.engine.workers} x {_unit(run)} of {images} images in float32, with {' and '.join(kept)}"


def _flat(run: RunConfig) -> bool:
    """Whether a running average of the pixels is kept."""
    return any(term.use == "flatness" and term.weight for term in run.synthesize.objective)


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
    stage, sets = "relabel", run.relabel.sets
    views = max(s.views for s in sets)
    yield Item(stage, "labels", "labels", cost.labels, note=f"{cost.images:,} images x {views} views")
    if cost.sets > 1:
        yield Item(stage, "sets", "label sets", cost.sets, note="the product and the random control, equally large: "
                   "what follows is of one, hours and bytes in all of both")  # fmt: skip
    yield Item(stage, "label_flop", "operations", cost.label_flop, "flop", "one forward pass a label")
    yield from label_bytes(run.relabel, cost, outputs)
    samples = min(cost.images, run.pack.shard_size)
    files = [label_file(samples * row_bytes(s.codec, outputs), s.views) for s in sets]
    yield Item(stage, "label_shards", "image shards", cost.label_shards, note=f"of {run.pack.shard_size:,} images")
    yield Item(stage, "label_file_bytes", "largest label file", max(files), "bytes",
               f"made in a worker's memory, {sum(files) / 1e6:,.0f} MB at once in all")  # fmt: skip
    yield Item(stage, "stored_bytes", "images and labels in all", cost.sets * (cost.image_bytes + cost.label_bytes),
               "bytes", f"{cost.sets} data set{'s' if cost.sets > 1 else ''}")  # fmt: skip
    flop = cost.sets * cost.label_flop if cost.label_flop else None
    yield Item(stage, "label_hours", "hours", _hours(flop, flop_rate), "hours", SAME_RATE)


def label_file(view: int, views: int) -> int:
    """Bytes of a label file that holds views of so many bytes, of a set that has so many."""
    return min(views, max(1, LABEL_FILE_BYTES // view)) * view


def _evaluate(run: RunConfig, cost: Cost, networks: Networks, fleet: Fleet, flop_rate: float | None) -> Iterator[Item]:
    judged, stage = run.evaluate, "evaluate"
    if not judged.students:
        return
    runs, tried = trainings(run) * judged.repeats, judged.repeats - len(judged.seeds)
    yield Item(stage, "students", "students", cost.students,
               note=f"{len(judged.students)} networks x {trainings(run)} of data, labels and augmentation "
               + (f"x ({len(judged.seeds)} seeds + {tried} learning rates tried)" if tried else
                  f"x {len(judged.seeds)} seeds"))  # fmt: skip
    seen = judged.epochs * cost.images
    yield Item(stage, "student_images", "images a student", seen, note=f"{judged.epochs} epochs of {cost.images:,}")
    flops = {name: TRAINING * flop * seen for name, flop in networks.students.items()}
    total, longest = sum(flops.values()) * runs, max(flops.values(), default=0.0)
    yield Item(stage, "student_flop", "operations", total, "flop",
               f"{TRAINING} forward passes an image; tests not counted")  # fmt: skip

    def hours(total: float, longest: float) -> float | None:
        # A student is trained by so many devices together, and no more of them at once than the config says.
        at_work = min(min(judged.workers, cost.students) * judged.split, fleet.devices)
        most = max(total / (at_work / fleet.devices), longest * fleet.devices / min(judged.split, fleet.devices))
        return most / flop_rate / 3600 if flop_rate else None

    alone, at_once = hours(total, longest), f"at most {judged.workers} students at once"
    yield Item(stage, "student_hours", "hours", alone, "hours", f"{at_once}; {SAME_RATE}")
    learners, live = live_students(run), cost.live_label_flop
    if not learners:
        return
    which = "labels are not stored" if run.relabel and run.relabel.mode == "live" else "real images have none stored"
    yield Item(stage, "live_labels", "live labels", cost.live_labels,
               note=f"{learners} students x {seen:,} images: {which}")  # fmt: skip
    yield Item(stage, "live_label_flop", "live labels, operations", live, "flop", "a forward pass a label")
    labellers = min(run.relabel.labellers or 0, fleet.devices) if run.relabel and run.relabel.mode == "live" else 0
    both = None if live is None else hours(total + live, longest + live / learners)
    more, where = None if both is None or alone is None else both - alone, "beside those of learning, on the same"
    if labellers and live is not None:
        more, where = _hours(live * fleet.devices / labellers, flop_rate), f"while they learn, on {labellers} more"
    yield Item(stage, "live_label_hours", "live labels, hours", more, "hours", f"{where} devices; {SAME_RATE}")


def _hours(flop: float | None, flop_rate: float | None) -> float | None:
    return flop / flop_rate / 3600 if flop is not None and flop_rate else None
