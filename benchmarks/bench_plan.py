"""How near does a calibrated plan come to what the run then takes?

Calls ``raydc plan CONFIG --calibrate`` and then ``raydc run CONFIG`` in a fresh folder, in turns, and records both
stage by stage, with a plot beside the record. What is not in a stage (the process, Ray's start and end) is ``start``.

    python benchmarks/bench_plan.py configs/quickstart.yaml --repeat 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import RECORDS, ROOT, spread, write_record

STAGES = ("start", "squeeze", "synthesize", "pack", "relabel", "evaluate", "report")


def main() -> None:
    """Measure in turns, record, plot, and say how far the predictions were off."""
    options = arguments()
    setters = [word for value in options.set for word in ("--set", value)]
    turns = [one_turn(options.config, setters) for _ in range(options.repeat)]
    found = {"stages": {s: compared([t["stages"][s] for t in turns]) for s in (*STAGES, "total")},
             "plan_s": spread([t["plan_s"] for t in turns]), "turns": turns}  # fmt: skip
    name = f"plan-{Path(options.config).stem}"
    target = write_record(name, "predicted by `raydc plan --calibrate`, and taken", found, Path(options.records))
    plot(found["stages"], Path(options.config).stem, target.with_suffix(".png"))
    for stage, row in found["stages"].items():
        predicted, taken = row["predicted_s"]["mean"], row["taken_s"]["mean"]
        print(f"{stage:<10} predicted {predicted:7.1f} s, took {taken:7.1f} s, {row['off_percent']['mean']:+.0f} %")
    print(f"{target}: the plan itself took {statistics.mean(t['plan_s'] for t in turns):.0f} s")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("config", help="YAML file of a run, relative to the repository")
    parser.add_argument("--repeat", type=int, default=1, help="turns of plan and run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to both")
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    return parser.parse_args()


def one_turn(config: str, setters: list[str]) -> dict[str, Any]:
    """A calibrated plan, then the run that it speaks of: {stage: [predicted, taken]} in seconds."""
    load = os.getloadavg()[0]
    said, plan_s = raydc("plan", config, *setters, "--calibrate", "--json")
    plan = json.loads(said)
    with tempfile.TemporaryDirectory(prefix="raydc-bench-") as scratch:
        _, total = raydc("run", config, *setters, "--set", f"output={scratch}/run")
        taken = json.loads(Path(scratch, "run", "status.json").read_text())["seconds"]
    taken = {**taken, "start": total - sum(taken.values()), "total": total}
    stages = {s: [plan[f"predicted_{s}_s"], taken[s]] for s in (*STAGES, "total")}
    return {"stages": stages, "plan_s": plan_s, "calibration": plan["calibration"], "load_before": load}


def raydc(*words: str) -> tuple[str, float]:
    """Run a command to its end; what it printed, and the seconds it took."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "raydc", *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"raydc {words[0]} failed with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout, time.monotonic() - began


def compared(pairs: list[list[float]]) -> dict[str, Any]:
    """Predicted and taken seconds of a stage over all turns, and by how much the prediction was off in each."""
    off = [100 * (predicted / taken - 1) for predicted, taken in pairs if taken]
    return {"predicted_s": spread([p for p, _ in pairs]), "taken_s": spread([t for _, t in pairs]),
            "off_percent": spread(off) if off else None}  # fmt: skip


def plot(stages: dict[str, Any], name: str, target: Path) -> None:
    """Bars side by side, stage by stage, with the spread over turns."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    places = range(len(STAGES))
    for shift, kind, colour in ((-0.2, "predicted", "#9bb8d3"), (0.2, "taken", "#1f4e79")):
        means = [stages[s][f"{kind}_s"]["mean"] for s in STAGES]
        spreads = [stages[s][f"{kind}_s"]["std"] for s in STAGES]
        axes.bar([p + shift for p in places], means, 0.4, yerr=spreads, label=kind, color=colour, capsize=2)
    total = stages["total"]
    axes.set_title(f"{name}: predicted {total['predicted_s']['mean']:.0f} s, took {total['taken_s']['mean']:.0f} s")
    axes.set_xticks(places, STAGES)
    axes.set_ylabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(target, dpi=150)


if __name__ == "__main__":
    main()
