"""What an evaluation leaves behind: its entry in ``metrics.json``, and the scores of DD-Ranking. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

DATA, LABELS, STUDENT, IPC = "data", "labels", "student", "ipc"


def evaluation(
    *,
    data: str,
    labels: str,
    student: str,
    seed: int,
    ipc: int,
    result: Mapping[str, Any],
    wall_s: float,
    label_bytes: int,
) -> dict[str, Any]:
    """Build one entry of ``evaluations`` in ``metrics.json``; accuracies are fractions.

    Args:
        data: condensed, random or full.
        labels: soft or hard.
        student: its name.
        seed: its seed.
        ipc: images per class of the condensed set.
        result: of ``Training.result()``: top1_last, top1_best, top5_last, epochs, steps.
        wall_s: seconds of training and testing; the only field that two equal runs do not share.
        label_bytes: bytes of the soft labels it learned from; 0 with hard labels.
    """
    return {DATA: data, LABELS: labels, STUDENT: student, IPC: ipc, "seed": seed, **result,
            "wall_s": round(wall_s, 3), "label_bytes": label_bytes}  # fmt: skip


def dd_ranking(evaluations: Sequence[Mapping[str, Any]], weight: float = 0.5) -> list[dict[str, Any]]:
    """The label-robust score of every (student, ipc) that has the evaluations for it (Li et al. 2025, DD-Ranking).

    Hard-label recovery HLR = full hard - condensed hard (smaller is better). Improvement over random IOR = condensed -
    random under the method's own labels: soft where both have them, else hard (larger is better).
    ``alpha = w IOR - (1 - w) HLR``, ``LRS = (e^alpha - 1/e) / (e - 1/e)``, in [0, 1]. Computed on fractions: the
    released code feeds percentages into the exponent. Means over seeds, last epoch.

    Returns:
        ``{student, ipc, hlr, ior, lrs}``; empty without full-data, random and condensed evaluations.
    """
    scores: dict[tuple[Any, ...], list[float]] = {}
    for e in evaluations:
        scores.setdefault((e[STUDENT], e.get(IPC, 0), e[DATA], e[LABELS]), []).append(float(e["top1_last"]))
    means = {key: sum(values) / len(values) for key, values in scores.items()}
    # The full data have no images per class of their own: they serve every ipc of their student.
    full = {student: mean for (student, _, data, labels), mean in means.items() if (data, labels) == ("full", "hard")}
    found = []
    for student, ipc in sorted({(s, i) for s, i, data, _ in means if data == "condensed"}):
        both = [k for k in ("soft", "hard") if all((student, ipc, d, k) in means for d in ("condensed", "random"))]
        hard = means.get((student, ipc, "condensed", "hard"))
        if not both or hard is None or student not in full:
            continue
        hlr = full[student] - hard
        ior = means[student, ipc, "condensed", both[0]] - means[student, ipc, "random", both[0]]
        lrs = (math.exp(weight * ior - (1 - weight) * hlr) - math.exp(-1)) / (math.e - math.exp(-1))
        found.append({STUDENT: student, IPC: ipc, "hlr": hlr, "ior": ior, "lrs": lrs})
    return found
