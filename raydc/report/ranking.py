"""DD-Ranking: one score for what an evaluation says, with the help of labels and chance taken out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from raydc.report.results import LABELS, groups

WEIGHT = 0.5
"""Of the improvement over random images; the rest is of the recovery of full data. Li et al. 2025, arXiv 2505.13300."""


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

    def sentence(self) -> str:
        """The scores in a line."""
        hlr, ior = (f"{100 * v:+.1f}".replace("-", "−") for v in (self.hlr, self.ior))
        return (
            f"DD-Ranking: label-robust score {100 * self.lrs:.1f} % (equal to random and to full data: 26.9 %), "
            f"improvement over random {ior} points, hard labels behind full data {hlr} points."
        )

    def plain(self) -> dict[str, Any]:
        """The entry in metrics.json."""
        return asdict(self)


def scores(evaluations: Sequence[Mapping[str, Any]]) -> list[Score]:
    """The score of every (student, ipc) that has the evaluations for it; others are left out.

    The method's own labels are soft where both sets have them, else hard. Everything is a fraction: the released code
    feeds percentages into the exponent.
    """
    means = {(g.student, g.ipc, g.data, g.labels): g.last.mean for g in groups(evaluations)}
    # The full data have no images per class of their own: they serve every ipc of their student.
    full = {student: mean for (student, _, data, labels), mean in means.items() if (data, labels) == ("full", "hard")}
    found = []
    for student, ipc in sorted({(s, i) for s, i, data, _ in means if data == "condensed"}):
        own = [k for k in LABELS if all((student, ipc, d, k) in means for d in ("condensed", "random"))]
        hard = means.get((student, ipc, "condensed", "hard"))
        if not own or hard is None or student not in full:
            continue
        hlr = full[student] - hard
        ior = means[student, ipc, "condensed", own[0]] - means[student, ipc, "random", own[0]]
        lrs = (math.exp(WEIGHT * ior - (1 - WEIGHT) * hlr) - math.exp(-1)) / (math.e - math.exp(-1))
        found.append(Score(student, ipc, hlr, ior, lrs))
    return found
