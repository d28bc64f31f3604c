"""The picture beside a record of scheduling: the driver's memory, and the workers at work, to the end of the tail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TAIL = 0.85
"""From which part of the run on the tail is shown."""


def busy(attempts: list[dict[str, Any]]) -> tuple[list[float], list[int]]:
    """When the number of workers at work changed, and to what."""
    changes = sorted([(a["begin"], 1) for a in attempts] + [(a["end"], -1) for a in attempts])
    times, counts = [0.0], [0]
    for t, change in changes:
        times.append(t)
        counts.append(counts[-1] + change)
    return times, counts


def plot(run: dict[str, Any], path: Path, found: dict[str, Any]) -> None:
    """Draw the three and write the PNG."""
    figure, (memory, whole, tail) = plt.subplots(1, 3, figsize=(15, 4), constrained_layout=True)
    rows = [row for row in run["memory"] if row["t"] >= 0]
    for kind in ("rss", "uss"):
        memory.plot([r["t"] for r in rows], [r[kind] / 2**20 for r in rows], label=kind.upper())
    growth = found["memory"]["uss_bytes_per_1000_blocks"] / 2**20
    memory.set(title=f"memory of the driver: {growth:+.2f} MiB USS a 1,000 blocks", ylabel="MiB", ylim=(0, None))
    memory.legend()
    times, counts = busy(run["attempts"])
    span = found["makespan"]
    for axis, first in ((whole, 0.0), (tail, TAIL * span["lower_bound_s"])):
        axis.step(times, counts, where="post", linewidth=0.8)
        axis.axvline(span["lower_bound_s"], color="tab:green", linestyle="--", label="lower bound")
        axis.axvline(span["ideal_s"], color="tab:orange", linestyle=":", label="its policy at no cost")
        axis.axvline(span["measured_s"], color="tab:red", linewidth=0.8, label="measured")
        axis.set(xlim=(first, 1.02 * max(span["measured_s"], span["ideal_s"])), ylim=(0, None))
    whole.set(title=f"workers at work, {len(run['done'])} blocks")
    tail.set(title=f"its end: {100 * span['over_bound']:+.1f} % over the bound")
    tail.legend(loc="lower left")
    for axis in (memory, whole, tail):
        axis.set_xlabel("seconds")
    figure.savefig(path, dpi=110)
    plt.close(figure)
