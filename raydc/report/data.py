"""What the engine hands to the report: plain frozen records, no behaviour.

Every field but the run's name has a default, and a section of the page without data does not appear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class ClassRow(NamedTuple):
    """Pictures of one class: u8 [H, W, 3] arrays, condensed and (where there are any) real."""

    name: str
    condensed: Sequence[np.ndarray]
    real: Sequence[np.ndarray] = ()


class Evolution(NamedTuple):
    """How one picture of a class came about: (step, u8 [H, W, 3]) in order of steps."""

    name: str
    frames: Sequence[tuple[int, np.ndarray]]


class Term(NamedTuple):
    """One term of the synthesis objective over steps, over blocks: mean, and the lowest and highest block."""

    steps: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class VerifierScore:
    """How many pictures of a kind an independent network puts in their own class; fractions."""

    verifier: str
    data: str
    """``noise``, ``first step``, ``condensed`` or ``random``."""
    top1: float
    top5: float | None = None
    count: int = 0


@dataclass(frozen=True)
class Curve:
    """One student's training; ``top1`` (fractions) and ``loss`` are as long as ``epochs``, None where not measured."""

    data: str
    labels: str
    student: str
    seed: int
    epochs: Sequence[int]
    top1: Sequence[float | None]
    loss: Sequence[float | None] = ()


@dataclass(frozen=True)
class TeacherNote:
    """A teacher: its test accuracy as a fraction, the digest of its weights and where they came from."""

    name: str
    arch: str
    top1: float | None = None
    sha256: str = ""
    origin: str = ""


@dataclass(frozen=True)
class WorkerLane:
    """When one worker was busy in one stage: (start, end) in seconds since the start of the run."""

    stage: str
    worker: str
    spans: Sequence[tuple[float, float]]
    units: int = 0


@dataclass(frozen=True)
class ReportData:
    """Everything the report shows of one run."""

    run: str
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    config_yaml: str = ""
    method_title: str = ""
    method_paper: str = ""
    dataset_id: str = ""
    dataset_url: str = ""
    dataset_bytes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of ``images`` and of ``labels``."""
    classes: int = 0
    ipc: int = 0
    image_size: int = 0
    """Side in pixels."""
    class_rows: Sequence[ClassRow] = ()
    evolutions: Sequence[Evolution] = ()
    objective: Mapping[str, Term] = field(default_factory=dict)
    verifiers: Sequence[VerifierScore] = ()
    curves: Sequence[Curve] = ()
    evaluations: Sequence[Mapping[str, Any]] = ()
    """Entries of ``evaluations`` in metrics.json; see :class:`raydc.report.results.Evaluation`."""
    by_class: Sequence[Mapping[str, Any]] = ()
    """As in metrics.json; see :func:`raydc.report.by_class.summary`."""
    device_hours: Mapping[str, Any] = field(default_factory=dict)
    """As in metrics.json; see :func:`raydc.report.hours.device_hours`."""
    teachers: Sequence[TeacherNote] = ()
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    worker_seconds: Sequence[WorkerLane] = ()
    notes: Sequence[str] = ()
