"""The picture of bench_autoscaling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(runs: list[dict[str, Any]], target: Path) -> None:
    """Nodes, workers and the queue over time, a column for each run; line styles tell them apart in grey too."""
    figure, axes = plt.subplots(
        2, len(runs), figsize=(1 + 4.5 * len(runs), 5), sharex="col", sharey="row", squeeze=False
    )
    for run, (above, below) in zip(runs, axes.T, strict=True):
        t = [s["t"] for s in run["samples"]]
        above.fill_between(t, [s["nodes"] for s in run["samples"]], step="post", color="0.8", label="nodes")
        above.step(*zip(*run["workers"], strict=True), where="post", color="black", lw=1.2, label="workers at work")
        below.step(t, [s["queue"] for s in run["samples"]], where="post", color="black", lw=1.2)
        for axis in (above, below):
            axis.axvline(run["last_unit_s"], color="0.4", ls=":", label="last unit done")
        slow = f"{run['slow_nodes']} of {run['peak_nodes']} nodes {run['slowness']:g} times slower"
        alike = f"{slow}, copies {'on' if run['copies'] else 'off'}" if run["slow_nodes"] else "all nodes alike"
        above.set_title(f"{alike}\nutilisation {run['utilisation']:.2f}, tail {run['tail_s']:.1f} s", fontsize=10)
        above.yaxis.get_major_locator().set_params(integer=True)
        below.set_xlabel("time (s)")
    axes[0][0].set_ylabel("count")
    axes[1][0].set_ylabel("units not done")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target, dpi=120)
