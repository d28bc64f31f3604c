"""DD-Ranking: one score for what an evaluation says, with the help of labels and chance taken out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from raydc.report.results import LABELS, groups

WEIGHT = 0.5
"""Of the improvement over random images; the rest is of the recovery of full data. Li et al. 2025, arXiv 2505.13300."""
AUGMENTED = 0.5
"""Weight of the improvement under augmentation in the augmentation-robust score; the rest is of that without."""


@dataclass(frozen=True)
class Score:
    """The scores of one student on one condensed set, of means over seeds after the last epoch."""

    student: str
    ipc: int
    hlr: float
    """Hard-label recovery: full - condensed, both with hard labels. Smaller is better."""
    ior: float
    """Improvement over random: condensed - random, both with the method's own labels. Larger is better."""
    lrs: float
    """Label-robust score, ``(e^a - 1/e) / (e - 1/e)`` with ``a = w IOR - (1 - w) HLR``; in [0, 1]."""
    ars: float | None = None
    """Augmentation-robust score, the same of ``b = g IOR + (1 - g) IOR without augmentation``; None: not evaluated."""

    def sentence(self) -> str:
        """The scores in a line."""
        hlr, ior = (f"{100 * v:+.1f}".replace("-", "−") for v in (self.hlr, self.ior))
        robust = "" if self.ars is None else f"augmentation-robust score {100 * self.ars:.1f} % (the same), "
        return (
            f"DD-Ranking: label-robust score {100 * self.lrs:.1f} % (equal to random and to full data: 26.9 %), "
            f"{robust}improvement over random {ior} points, hard labels behind full data {hlr} points."
        )

    def plain(self) -> dict[str, Any]:
        """The entry in metrics.json."""
        return asdict(self)


def scores(evaluations: Sequence[Mapping[str, Any]]) -> list[Score]:
    """The score of every (student, ipc) that has the evaluations for it; others are left out.

    The method's own labels are soft where both sets have them, else hard; of several label sets the first. Everything
    is a fraction: the released code feeds percentages into the exponent.
    """
    means: dict[tuple[str, int, str, str, str], float] = {}
    for g in groups(evaluations):
        means.setdefault((g.student, g.ipc, g.data, g.labels, g.kind[4]), g.last.mean)
    # The full data have no images per class of their own: they serve every ipc of their student.
    full = {key[0]: mean for key, mean in means.items() if key[2:] == ("full", "hard", "protocol")}
    found = []
    for student, ipc in sorted({key[:2] for key in means if key[2] == "condensed"}):

        def ahead(labels: str, augment: str, of: tuple[str, int] = (student, ipc)) -> float | None:
            both = [means.get((*of, data, labels, augment)) for data in ("condensed", "random")]
            return None if both[0] is None or both[1] is None else both[0] - both[1]

        own = next((k for k in LABELS if ahead(k, "protocol") is not None), None)
        hard = means.get((student, ipc, "condensed", "hard", "protocol"))
        if own is None or hard is None or student not in full:
            continue
        hlr, ior, bare = full[student] - hard, ahead(own, "protocol") or 0.0, ahead(own, "none")
        ars = None if bare is None else _scaled(AUGMENTED * ior + (1 - AUGMENTED) * bare)
        found.append(Score(student, ipc, hlr, ior, _scaled(WEIGHT * ior - (1 - WEIGHT) * hlr), ars))
    return found


def _scaled(value: float) -> float:
    """A number of [-1, 1] in [0, 1], the steeper the better."""
    return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))
