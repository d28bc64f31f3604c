"""What a run will take, before anything is spent: images, blocks, operations, bytes, hours, money."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from raydc.config.schema import RunConfig
from raydc.plan.blocks import GROUPS
from raydc.plan.fleet import Fleet

RECORD_BYTES = 24
"""One view record (``labels/views.py``)."""
LABEL_BYTES = {"fp16": (2, 0), "int8": (1, 4)}
"""Codec to (bytes a class, bytes a row beside)."""
IMAGE_BYTES_PER_PIXEL = {"png": 2.4, "jpg": 1.4}
"""Measured on a 1/f picture at 224: PNG 119 kB, JPEG 95 4:4:4 69 kB (data-format study, section 3)."""


@dataclass(frozen=True)
class Cost:
    """The arithmetic of a run; every field is a total, of the product alone where ``sets`` says there are more."""

    classes: int
    images: int
    blocks: int
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
    synthesis_hours: float | None
    tail_hours: float | None
    price: float | None

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
    images = classes * synth.ipc
    image_steps = classes * sum(synth.steps - synth.begins(index) for index in range(synth.ipc))
    views = run.relabel.views if run.relabel and run.relabel.mode == "stored" else 0
    hours = fleet.hours(image_steps)
    return Cost(
        classes=classes,
        images=images,
        blocks=len(blocks),
        image_steps=image_steps,
        synthesis_flop=step_flop * image_steps if step_flop else None,
        labels=images * views,
        label_flop=label_flop * images * views if label_flop else None,
        image_bytes=image_bytes(run, images, run.pack.format),
        label_bytes=images * views * row_bytes(run.relabel.codec, outputs) if run.relabel else 0,
        label_shards=-(-images // run.pack.shard_size) if views else 0,
        sets=2 if judged.students and "random" in judged.data else 1,
        students=len(judged.students) * len(judged.seeds) * len(judged.data) * len(judged.labels),
        synthesis_hours=hours,
        tail_hours=fleet.tail_hours(max(map(len, blocks)) * synth.steps) if blocks else None,
        price=hours * fleet.hourly if hours is not None and fleet.hourly is not None else None,
    )


def row_bytes(codec: str, outputs: int) -> int:
    """Bytes of one label of one view, its record included."""
    per_class, per_row = LABEL_BYTES[codec]
    return RECORD_BYTES + per_class * outputs + per_row


def image_bytes(run: RunConfig, images: int, format: str) -> int:
    """Bytes of so many encoded images."""
    return round(images * run.data.image_size**2 * IMAGE_BYTES_PER_PIXEL[format])
