"""Does anything grow that must not, when ImageNet-21K's 10,450 classes go through every stage?

Runs ``configs/rehearsal-imagenet21k.yaml`` (generated images, a tiny teacher, all blocks at two steps) in a fresh
folder, at a tenth of its classes and at all of them; watches the memory of every process, counts what was written, and
leaves one dated record with a picture beside it. The folder, some 6 GB, is removed at the end.

    python benchmarks/bench_rehearsal.py
    python benchmarks/bench_rehearsal.py --classes 105 210 --set synthesize.ipc=4    # to try it out
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
from common import RECORDS, ROOT, write_record
from memory_by_role import Memory, drawn

from raydc.config import load
from raydc.report.events import read_events
from raydc.report.units import instant
from raydc.store.folder import Folder

CONFIG = "configs/rehearsal-imagenet21k.yaml"
SAMPLE_EVERY_S = 2.0
"""A sample of a dozen processes costs a tenth of a second of one core."""
ROOM = 2.0
"""Free bytes asked for, over those of the labels: parts, shards and Ray's own files are the smaller half."""


def main() -> None:
    """Run every scale, record, and say where the record lies."""
    mpl.use("Agg")
    options = arguments()
    runs = [rehearsal(classes, options) for classes in options.classes]
    growth = {role: [run["peaks"][role]["one_process"] for run in runs if role in run["peaks"]] for role in roles(runs)}
    found = {"classes": options.classes, "peak_of_one_process_by_role": growth, "runs": runs}
    what = "a rehearsal of ImageNet-21K without its images: memory, time and files"
    target = write_record("rehearsal-imagenet21k", what, found, Path(options.records))
    drawn(runs, target.with_suffix(".png"))
    for run in runs:
        print(f"{run['classes']:,} classes: {run['total_s']:.0f} s, {run['stage_s']}")
    print(target)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", default=CONFIG, help="YAML file of a run on generated data")
    parser.add_argument("--classes", type=int, nargs="+", default=[1_045, 10_450], help="scales, one run each")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to raydc run")
    parser.add_argument("--scratch", default=tempfile.gettempdir(), help="short path of a folder with room for the run")
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    return parser.parse_args()


def roles(runs: list[dict[str, Any]]) -> list[str]:
    """Every role that some run had, in the order of the first that had it."""
    return list(dict.fromkeys(role for run in runs for role in run["peaks"]))


def rehearsal(classes: int, options: argparse.Namespace) -> dict[str, Any]:
    """One fresh run at one scale."""
    overrides = [*options.set, f"data.classes={classes}"]
    config = load(ROOT / options.config, overrides)
    images = classes * config.synthesize.ipc
    labels = images * classes * 2 * (config.relabel.views if config.relabel else 0)
    free = shutil.disk_usage(options.scratch).free
    if free < ROOM * labels:
        sys.exit(f"{options.scratch} has {free / 1e9:.0f} GB free; {classes} classes need {ROOM * labels / 1e9:.0f}")
    # A short name: Ray's sockets lie below it, and their paths may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rh", dir=options.scratch) as scratch:
        output, log = Path(scratch, "run"), Path(scratch, "log")
        overrides.append(f"output={output}")
        setters = [word for value in overrides for word in ("--set", value)]
        environment = {**os.environ, "RAY_TMPDIR": scratch}
        environment.pop("RAY_ADDRESS", None)
        command = [sys.executable, "-m", "raydc", "run", options.config, *setters]
        began = time.time()
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env=environment)
            memory = watched(process)
        seconds = time.time() - began
        if process.returncode:
            sys.exit(f"the run failed with exit code {process.returncode}:\n{log.read_text()[-4000:]}")
        beside = [size for path, size in sizes(Path(scratch)).items() if not path.startswith(("run/", "log"))]
        found = facts(output, memory)
    head = {"classes": classes, "images": images, "total_s": round(seconds, 1)}
    return {**head, **found, "ray_temp_bytes": sum(beside)}


def watched(process: subprocess.Popen[bytes]) -> Memory:
    """Sample the memory of a process and all below it until it ends; an interrupted watch ends the process first."""
    memory = Memory(process.pid)
    try:
        while process.poll() is None:
            began = time.monotonic()
            memory.sample()
            try:
                process.wait(max(0.05, SAMPLE_EVERY_S - (time.monotonic() - began)))
            except subprocess.TimeoutExpired:
                continue
    except BaseException:
        process.terminate()
        process.wait(60)
        raise
    return memory


def facts(output: Path, memory: Memory) -> dict[str, Any]:
    """What a finished run tells of itself: times, memory by stage and role, files."""
    events = read_events(Folder(output))
    stages = [(e["stage"], instant(e["t"])) for e in events if e["kind"] == "stage_started"]
    status = json.loads((output / "status.json").read_text())
    units: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["kind"] == "unit_done":
            units[event["stage"]].append(event["seconds"])
    files, total = Counter[str](), Counter[str]()
    for path, size in sizes(output).items():
        files[kind(path)] += 1
        total[kind(path)] += size
    return {
        "stage_s": {stage: round(value, 1) for stage, value in status["seconds"].items()},
        "units": {
            stage: {"count": len(times), "mean_s": round(sum(times) / len(times), 3), "max_s": round(max(times), 3)}
            for stage, times in units.items()
        },
        "peaks": memory.peaks(),
        "peak_of_all": memory.peak_of_all(),
        "peaks_by_stage": memory.by_stage(stages),
        "processes": memory.processes(),
        "files": {name: {"files": files[name], "bytes": total[name]} for name in sorted(files)},
        "events": len(events),
        "timeline": memory.timeline(stages),
    }


def sizes(folder: Path) -> dict[str, int]:
    """The size of every file below a folder, by its relative path."""
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = Path(at, name)
            if path.is_file() and not path.is_symlink():
                found[str(path.relative_to(folder))] = path.stat().st_size
    return found


def kind(path: str) -> str:
    """What a file of a run folder is, by its path in it."""
    parts = path.split("/")
    if parts[0] == "blocks":
        return "markers" if path.endswith(".json") else "parts"
    if parts[0] == "datasets":
        folders = {"images": "image shards", "labels": "label shards", "raydc.json": "manifest"}
        return folders.get(parts[2], "documents of the data set")
    if parts[0] == "work":
        return f"work/{parts[1]}"
    return parts[0] if len(parts) > 1 else "files of the run"


if __name__ == "__main__":
    main()
