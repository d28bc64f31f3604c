"""What a calibration has measured, as items of a plan."""

from __future__ import annotations

from raydc.plan.item import Item
from raydc.plan.measured import Measured, Timing


def measures(found: Measured) -> list[Item]:
    """What was measured, as rates with their spread."""
    head, beside = f"measured on {found.device}", f"by one of {found.workers} at work"
    shown = []
    if found.launch:
        done = f"{found.launch_images} images a launch, executed {found.execution}"
        note = f"image-steps a second {beside}, {done}; {spread(found.launch.step)}"
        shown.append(Item(head, "rate", "synthesis", found.rate, "rate", note))
    if found.view:
        done = f"executed {found.label_execution}"
        note = f"labels a second {beside}, {done}; {spread(found.view.step)}"
        shown.append(Item(head, "label_rate", "labelling", 1 / found.view.step.median, "rate", note))
    for name, loop in {**found.squeeze, **found.students}.items():
        key = f"step_s_{name.replace(' ', '_')}"
        note = f"a training step; {spread(loop.step)}"
        shown.append(Item(head, key, name, loop.step.median, "pace", note))
    real = "made-up images stand in for the real ones" if found.stand_in else "decoded and resized"
    shown.append(Item(head, "decode_s", "a real image", found.decode, "pace", real))
    return shown


def spread(timing: Timing) -> str:
    """How far repetitions lay apart, and how many there were."""
    below, above = (100 * (t / timing.median - 1) if timing.median else 0.0 for t in (timing.low, timing.high))
    return f"{below:+.0f} to {above:+.0f} % in {timing.count} repetitions"
