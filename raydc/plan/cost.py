"""What a run will take, before anything is spent: images, blocks, operations, bytes, hours, money."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from raydc.config.schema import RunConfig
from raydc.plan.blocks import GROUPS

RECORD_BYTES = 24
"""One view record (``labels/views.py``)."""
LABEL_BYTES = {"fp16": (2, 0), "int8": (1, 4)}
"""Codec to (bytes a class, bytes a row beside)."""
IMAGE_BYTES_PER_PIXEL = {"png": 2.4, "jpg": 1.4}
"""Measured on a 1/f picture at 224: PNG 119 kB, JPEG 95 4:4:4 69 kB (data-format study, section 3)."""


@dataclass(frozen=True)
class Cost:
    """The arithmetic of a run; every field is a total."""

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
    students: int
    synthesis_hours: float | None
    price: float | None

    def as_dict(self) -> dict[str, Any]:
        """The cost as plain values for JSON."""
        return asdict(self)


def cost(
    run: RunConfig,
    classes: int,
    outputs: int,
    forward_flop: float | None,
    gpus: int,
    rate: float | None,
    price: float | None,
) -> Cost:
    """Count a run.

    Args:
        run: the run.
        classes: how many classes are synthesized.
        outputs: size of the label space, the width of a soft label.
        forward_flop: operations of the teacher's forward pass on one image (1 multiply-add = 2), if known.
        gpus: devices at work.
        rate: image-steps a second of one device, measured or stated; None leaves hours and price open.
        price: money for one device-hour.
    """
    synth, size = run.synthesize, run.data.image_size
    blocks = len(GROUPS[synth.blocks.group](range(classes), synth.ipc, synth.blocks.size))
    images = classes * synth.ipc
    image_steps = images * synth.steps
    views = run.relabel.views if run.relabel else 0
    per_class, per_row = LABEL_BYTES[run.relabel.codec] if run.relabel else (0, 0)
    label_bytes = images * views * (RECORD_BYTES + per_class * outputs + per_row) if views else 0
    hours = image_steps / rate / gpus / 3600 if rate else None
    judged = run.evaluate
    return Cost(
        classes=classes,
        images=images,
        blocks=blocks,
        image_steps=image_steps,
        # Forward and the gradient of the input; weights are frozen, so their gradient is not computed.
        synthesis_flop=2 * forward_flop * image_steps if forward_flop else None,
        labels=images * views,
        label_flop=forward_flop * images * views if forward_flop else None,
        image_bytes=round(images * size * size * IMAGE_BYTES_PER_PIXEL[run.pack.format]),
        label_bytes=label_bytes,
        label_shards=-(-images // run.pack.shard_size) if views else 0,
        students=len(judged.students) * len(judged.seeds) * len(judged.data) * len(judged.labels),
        synthesis_hours=hours,
        price=hours * gpus * price if hours is not None and price is not None else None,
    )
