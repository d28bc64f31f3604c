"""How long does a whole run take, how much memory does it need, and what comes out?

Runs ``raydc run CONFIG`` in fresh folders as a user would, watches the memory of its whole process tree, and writes one
dated record, with the contact sheet of the last run beside it. Memory is the sum of proportional set sizes: workers
share the pages of libraries, which a sum of resident sizes counts once for each.

    python benchmarks/bench_run.py configs/quickstart.yaml --repeat 3
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import RECORDS, ROOT, memory_of, spread, write_record

SAMPLE_EVERY_S = 1.0


def main() -> None:
    """Run, record, and say where the record lies."""
    options = arguments()
    name = Path(options.config).stem
    with tempfile.TemporaryDirectory(prefix="raydc-sheet-") as scratch:
        sheet = Path(scratch) / "images.png"
        runs = [one_run(options.config, options.set, sheet) for _ in range(options.repeat)]
        totals, peak = [r["total_s"] for r in runs], max(r["peak_pss_bytes"] for r in runs)
        found = {
            "total_s": spread(totals),
            "peak_pss_bytes": peak,
            "same_dataset": len({r["dataset_id"] for r in runs}) == 1,
            "runs": runs,
        }
        target = write_record(name, "a run with every stage, output on a local disk", found, Path(options.records))
        shutil.copy(sheet, target.with_suffix(".png"))
    print(f"{target}: {statistics.mean(totals):.0f} s, at most {peak / 2**30:.2f} GiB of memory")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("config", help="YAML file of a run, relative to the repository")
    parser.add_argument("--repeat", type=int, default=1, help="fresh runs, one after another")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to raydc run")
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    return parser.parse_args()


def setters(values: list[str]) -> list[str]:
    """The overrides as arguments of raydc."""
    return [word for value in values for word in ("--set", value)]


def one_run(config: str, overrides: list[str], sheet: Path) -> dict[str, Any]:
    """One fresh run: its times, its memory and its results. Leaves its contact sheet behind and nothing else."""
    with tempfile.TemporaryDirectory(prefix="raydc-bench-") as scratch:
        output, log = Path(scratch) / "run", Path(scratch) / "log"
        command = [sys.executable, "-m", "raydc", "run", config, "--set", f"output={output}", *setters(overrides)]
        began = time.monotonic()
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
            memory = watch(process)
        seconds = time.monotonic() - began
        if process.returncode:
            sys.exit(f"the run failed with exit code {process.returncode}:\n{log.read_text()[-4000:]}")
        status, metrics = (json.loads((output / name).read_text()) for name in ("status.json", "metrics.json"))
        verifiers = output / "verifiers.json"
        answers = json.loads(verifiers.read_text()) if verifiers.exists() else []
        shutil.copy(output / "report" / "images.png", sheet)
    return {
        "total_s": round(seconds, 2),
        "stage_s": {stage: round(value, 2) for stage, value in status["seconds"].items()},
        **memory,
        "dataset_id": metrics["dataset_id"],
        "evaluations": metrics["evaluations"],
        "dd_ranking": metrics["dd_ranking"],
        "verifiers": answers,
    }


def watch(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Sample the memory of a process and all below it until it ends; the peaks of the sums."""
    peak = {"peak_pss_bytes": 0, "peak_rss_bytes": 0, "peak_processes": 0, "samples": 0}
    while process.poll() is None:
        began = time.monotonic()
        pss, rss, count = memory_of(process.pid)
        peak["peak_pss_bytes"] = max(peak["peak_pss_bytes"], pss)
        peak["peak_rss_bytes"] = max(peak["peak_rss_bytes"], rss)
        peak["peak_processes"] = max(peak["peak_processes"], count)
        peak["samples"] += 1
        try:
            process.wait(max(0.05, SAMPLE_EVERY_S - (time.monotonic() - began)))
        except subprocess.TimeoutExpired:
            continue
    return peak


if __name__ == "__main__":
    main()
