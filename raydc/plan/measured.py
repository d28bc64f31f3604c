"""What a calibration finds: seconds of everything that a run repeats, on the machine that it was made on."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from raydc.plan.fleet import Kind


@dataclass(frozen=True)
class Timing:
    """Seconds of one repetition: the median of several, the range of nine in ten, and how many were measured."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """Summarize repetitions on one worker."""
        ordered = sorted(seconds)
        last = len(ordered) - 1
        low, high = ordered[round(0.05 * last)], ordered[round(0.95 * last)]
        return cls(statistics.median(ordered), low, high, len(ordered))

    @classmethod
    def over(cls, timings: Sequence[Timing]) -> Timing:
        """Summarize workers that were at work at once: the mean of their medians."""
        return cls(
            statistics.mean(t.median for t in timings), min(t.low for t in timings), max(t.high for t in timings),
            sum(t.count for t in timings),
        )  # fmt: skip


@dataclass(frozen=True)
class Loop:
    """Something that is repeated many times after a start."""

    step: Timing
    first: float
    """Seconds before the steady pace: building, and what the first repetitions take longer."""


@dataclass(frozen=True)
class Measured:
    """What a calibration found; seconds on one worker while as many were at work as in the run."""

    device: str
    workers: int
    """Workers of synthesis and labelling: as many as the config asks for, if this machine has room for them."""
    seats: int
    """Workers that this machine has room for."""
    process: float
    """From the start of the process until Ray is asked for."""
    ray: float
    """Ray's start and end."""
    worker: float
    """The start of a worker."""
    opening: float
    """Finding the real data."""
    train_images: int | None
    validation_images: int | None
    """None: not counted, because the data is not here."""
    stand_in: bool
    """Whether made-up images stood in for the real ones."""
    first_image: float
    decode: float
    """A real image, decoded and resized."""
    launch_images: int
    """Of the blocks that a worker makes at once."""
    launch: Loop | None
    """A step of a launch; None where no step is taken."""
    begin: float
    """A launch until its first step."""
    encode: float
    """An image."""
    execution: str = "eager"
    """Of the synthesis step."""
    trial: float = 0.0
    """Finding out which."""
    label_execution: str = "eager"
    """Of the teachers that label."""
    label_trial: float = 0.0
    """Finding out which."""
    view: Loop | None = None
    """A label: one view of one image, rendered, answered, encoded, written."""
    shard_image: float = 0.0
    """An image of a shard before its first view: decoding, and the measure of the codec's loss."""
    squeeze: dict[str, Loop] = field(default_factory=dict)
    """A step of each teacher that is trained."""
    tests: dict[str, float] = field(default_factory=dict)
    """A test image, by network: ``teacher NAME`` and ``student NAME``."""
    students: dict[str, Loop] = field(default_factory=dict)
    """A step of a student, by :func:`student_kind`."""

    @property
    def waking(self) -> float:
        """What a new process spends before its first step: whoever came first paid for what torch imports late."""
        loops = [*self.squeeze.values(), *self.students.values(), *([self.launch] if self.launch else [])]
        return max((loop.first for loop in loops), default=0.0)

    @property
    def rate(self) -> float | None:
        """Image-steps a second of one worker."""
        return self.launch_images / self.launch.step.median if self.launch else None

    @property
    def devices(self) -> Kind:
        """The measured workers, as a part of a fleet."""
        return Kind(self.workers, self.rate)

    def as_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {**asdict(self), "rate": self.rate}


def student_kind(student: str, data: str, labels: str) -> str:
    """Students whose steps cost the same: stored images of any origin are alike, real ones are not."""
    return f"{student} {'full' if data == 'full' else 'stored'} {labels}"
