"""The plot of a comparison: every method's seeds beside random images, soft and hard labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from raydc.report.comparison import Compared, Line, cells, ordered

COLOURS = {"condensed": "#2457c5", "random": "#c98a00", "full": "#2b8a3e"}


def draw(runs: Sequence[Compared], path: Path) -> None:
    """Write the plot as PNG: one panel for each student and kind of labels."""
    panels: dict[tuple[str, str], list[Line]] = {}
    for line in ordered(runs):
        panels.setdefault((line.group.student, line.group.labels), []).append(line)
    most = max(map(len, panels.values()))
    figure, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 0.36 * most + 1.2), squeeze=False)
    for axis, ((student, labels), found) in zip(axes[0], panels.items(), strict=True):
        for row, line in enumerate(found):
            scores = [100 * run.top1_last for run in line.group.runs]
            colour = COLOURS[line.group.data]
            axis.plot(scores, [row] * len(scores), "|", color=colour, markersize=9, alpha=0.7)
            axis.plot(sum(scores) / len(scores), row, "o", color=colour, markersize=5)
            if line.group.data == "random":
                axis.axvline(sum(scores) / len(scores), color=colour, linewidth=0.8, linestyle=":")
        axis.set_yticks(range(len(found)), [cells(line)[0] for line in found], fontsize=8)
        axis.invert_yaxis()
        axis.grid(axis="x", linewidth=0.3)
        axis.set_xlabel("top-1 after the last epoch, %")
        axis.set_title(f"{student}, {labels} labels", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
