"""What evaluations say: means over seeds, and condensed against random under the same protocol, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raydc.errors import DataError

DATA = ("condensed", "random", "full")
"""The order in which data sets are shown, everywhere."""

LABELS = ("soft", "hard")

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; beyond them the normal 1.96 plus a little."""


Kind = tuple[str, int, str, str, str]
"""Student, IPC, labels, label set and augmentation: what condensed and random images are compared under."""


@dataclass(frozen=True)
class Evaluation:
    """One student on one data set: an entry of ``evaluations`` in metrics.json. Accuracies are fractions."""

    data: str
    labels: str
    student: str
    seed: int
    top1_last: float
    ipc: int = 0
    top1_best: float | None = None
    top5_last: float | None = None
    epochs: int = 0
    wall_s: float = 0.0
    label_bytes: int = 0
    label_set: str = ""
    """The stored labels that it learnt from; empty where a run has one set, for hard labels, and for live ones."""
    codec: str = ""
    views: int = 0
    augment: str = "protocol"
    """``none``: it saw whole images, unmixed."""

    @property
    def kind(self) -> Kind:
        """What stays the same where only the data differ."""
        return self.student, self.ipc, self.labels, self.label_set, self.augment

    @staticmethod
    def of(entry: Mapping[str, Any]) -> Evaluation:
        """Read an entry; keys that are not known are left alone.

        Raises:
            DataError: a needed key is missing, or an accuracy is not a fraction.
        """
        missing = [key for key in ("data", "labels", "student", "seed", "top1_last") if key not in entry]
        if missing:
            raise DataError(f"evaluation {dict(entry)} lacks {missing}; expected an entry as in metrics.json")
        known = {key: entry[key] for key in Evaluation.__dataclass_fields__ if entry.get(key) is not None}
        result = Evaluation(**known)
        for name in ("top1_last", "top1_best", "top5_last"):
            value = getattr(result, name)
            if value is not None and not 0 <= value <= 1:
                raise DataError(f"evaluation {dict(entry)}: {name} is {value}; expected a fraction from 0 to 1")
        return result


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1; None for one value) of fractions."""

    mean: float
    std: float | None
    count: int

    def text(self, digits: int = 1) -> str:
        """Return ``"52.3 ± 0.4"`` in percent; without a spread where there is one value."""
        spread = "" if self.std is None else f" ± {100 * self.std:.{digits}f}"
        return f"{100 * self.mean:.{digits}f}{spread}"


@dataclass(frozen=True)
class Group:
    """All seeds of one kind on one data set."""

    data: str
    labels: str
    student: str
    ipc: int
    called: str
    """The labels in words: with their set where there are several, and whether of whole images."""
    runs: tuple[Evaluation, ...]
    last: Spread
    best: Spread | None
    top5: Spread | None

    @property
    def kind(self) -> Kind:
        """What stays the same where only the data differ."""
        return self.runs[0].kind

    @property
    def label_bytes(self) -> int:
        """Bytes of the labels that the student was trained with."""
        return max(run.label_bytes for run in self.runs)

    @property
    def epochs(self) -> int:
        """Epochs of training."""
        return max(run.epochs for run in self.runs)

    @property
    def wall_s(self) -> float:
        """Mean seconds of one training."""
        return float(np.mean([run.wall_s for run in self.runs]))


@dataclass(frozen=True)
class Verdict:
    """Condensed minus random for one kind of training, paired by seed; differences are fractions."""

    kind: Kind
    labels: str
    """In words."""
    student: str
    ipc: int
    condensed: float
    random: float
    differences: tuple[float, ...]
    outcome: str
    """``better``, ``worse``, ``level`` (not told apart), or ``one seed``."""

    @property
    def spread(self) -> Spread:
        """Mean and standard deviation of the differences."""
        return spread(self.differences)

    @property
    def wins(self) -> int:
        """Seeds for which the condensed set scores higher."""
        return sum(d > 0 for d in self.differences)

    def delta(self) -> str:
        """Return the difference in points with its sign and spread: ``"+3.8 ± 0.6"``."""
        mean = f"{100 * self.spread.mean:+.1f}".replace("-", "−")
        return mean if self.spread.std is None else f"{mean} ± {100 * self.spread.std:.1f}"

    def sentence(self) -> str:
        """Return the verdict in plain words."""
        scores = f"{100 * self.condensed:.1f} % against {100 * self.random:.1f} %"
        count = len(self.differences)
        if self.outcome == "one seed":
            word = "higher" if self.differences[0] > 0 else "lower" if self.differences[0] < 0 else "equal"
            return f"With one seed the condensed images score {word} ({scores}). One seed is no evidence."
        ahead = f"ahead with {self.wins} of {count} seeds"
        if self.outcome == "level":
            return f"Condensed and random images cannot be told apart: {scores}, {ahead}."
        more = "more" if self.outcome == "better" else "less"
        return f"Condensed images teach {more} than as many random real images: {scores}, {ahead}."


def spread(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation of at least one value."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), std, len(values))


def labels_text(labels: str, label_set: str, augment: str, several: bool) -> str:
    """What labels are called before that word: ``soft``, ``soft int8``, ``hard whole-image``."""
    parts = [labels, *([label_set] if label_set and several else []), *(["whole-image"] if augment == "none" else [])]
    return " ".join(parts)


def groups(evaluations: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Gather evaluations by kind and data, in the order in which they are shown."""
    read = [Evaluation.of(entry) for entry in evaluations]
    sets = list(dict.fromkeys(e.label_set for e in read if e.label_set))  # in the order of the run
    if len(sets) == 1:  # it stands beside live labels then, as of full data
        read = [replace(e, label_set="") for e in read]
    found: dict[tuple[Kind, str], dict[int, Evaluation]] = {}
    for e in read:
        # A seed that was evaluated again replaces its earlier entry: it must not count twice in the spread.
        found.setdefault((e.kind, e.data), {})[e.seed] = e
    result = []
    for (kind, data), by_seed in found.items():
        student, ipc, labels, label_set, augment = kind
        runs = tuple(by_seed[seed] for seed in sorted(by_seed))
        last, best = spread([run.top1_last for run in runs]), _spread_of([run.top1_best for run in runs])
        called = labels_text(labels, label_set, augment, len(sets) > 1)
        top5 = _spread_of([run.top5_last for run in runs])
        result.append(Group(data, labels, student, ipc, called, runs, last, best, top5))
    return sorted(result, key=lambda g: (*_place(g.kind, sets), rank(DATA, g.data)))


def _place(kind: Kind, sets: Sequence[str]) -> tuple[Any, ...]:
    """Where a kind stands among others: whole images behind the protocol's views, label sets as the run has them."""
    student, ipc, labels, label_set, augment = kind
    return student, ipc, augment != "protocol", rank(LABELS, labels), rank(sets, label_set)


def verdicts(evaluations: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Compare condensed with random for every kind that has both, over the seeds that both have.

    Better or worse means that the 95 % interval of the mean paired difference (Student's t) excludes zero.
    """
    by_name = {(g.kind, g.data): g for g in groups(evaluations)}
    result = []
    for (kind, data), group in by_name.items():
        other = by_name.get((kind, "random"))
        if data != "condensed" or other is None:
            continue
        mine = {run.seed: run.top1_last for run in group.runs}
        theirs = {run.seed: run.top1_last for run in other.runs}
        seeds = sorted(mine.keys() & theirs.keys())
        if not seeds:
            continue
        a, b = [mine[s] for s in seeds], [theirs[s] for s in seeds]
        differences = tuple(x - y for x, y in zip(a, b, strict=True))
        result.append(
            Verdict(kind, group.called, group.student, group.ipc, float(np.mean(a)), float(np.mean(b)), differences,
                    _outcome(differences))
        )  # fmt: skip
    return result


def rank(order: Sequence[str], name: str) -> tuple[int, str]:
    """Sort known names in their order and unknown ones behind, by name."""
    return (order.index(name) if name in order else len(order), name)


def _spread_of(values: Sequence[float | None]) -> Spread | None:
    measured = [value for value in values if value is not None]
    return spread(measured) if measured else None


def _outcome(differences: Sequence[float]) -> str:
    if len(differences) < 2:
        return "one seed"
    s = spread(differences)
    freedom = len(differences) - 1
    quantile = T_975[freedom - 1] if freedom <= len(T_975) else 1.96 + 2.5 / freedom
    reach = quantile * (s.std or 0.0) / math.sqrt(len(differences))
    if abs(s.mean) <= reach:
        return "level"
    return "better" if s.mean > 0 else "worse"
