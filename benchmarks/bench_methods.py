"""Which method's images teach most, under one protocol, and what do they cost?

Runs several configs, which must share data, teachers, labels and the training of students, one after another in fresh
folders: `raydc run` each, then `raydc compare` all. Teachers are trained once and handed on, because every config would
train the same ones; random real images are the control of the first run and of every run whose protocol is its own.
The record holds every student; the page, its pictures and a plot lie beside it.

    python benchmarks/bench_methods.py --name digits-methods --scratch /tmp/methods configs/digits/{sre2l,cda,edc}.yaml

For another data set give its URL:  --set data.use=folders --set data.train=s3://bucket/train ...
One setting in several ways: --vary engine.execution.synthesize=eager,eager-bf16 makes a run of every config with each.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from common import RECORDS, raydc, write_record
from methods_plot import draw

from raydc.engine.comparison import gather
from raydc.report.comparison import Compared, as_markdown, cells, ordered


def main() -> None:
    """Run every config, compare, record."""
    options = arguments()
    scratch = Path(options.scratch).resolve()
    ways = variants(options, scratch)
    runs = [one_run(config, folder, ways[0][1] if n else None, set_) for n, (config, folder, set_) in enumerate(ways)]
    folders = [str(folder) for _, folder, _ in ways]
    raydc("compare", *folders, "--output", str(scratch / "comparison"), "--markdown")
    found = gather(folders)
    record = {"runs": runs, "table": table(found), "markdown": as_markdown(found).splitlines()}
    target = write_record(options.name, "methods under one protocol, one after another", record, Path(options.records))
    draw(found, target.with_suffix(".png"))
    pictures = scratch / "comparison" / "images.png"
    if pictures.exists():
        shutil.copy(pictures, target.with_name(f"{target.stem}-pictures.png"))
    print(as_markdown(found), target, sep="\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("configs", nargs="+", help="YAML files of runs, relative to the repository")
    parser.add_argument("--name", required=True, help="of the record")
    parser.add_argument("--scratch", required=True, help="folder for the runs; what is there goes on")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to raydc run")
    parser.add_argument("--vary", default="", metavar="KEY=V1,V2", help="one setting in several ways")
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    return parser.parse_args()


def variants(options: argparse.Namespace, scratch: Path) -> list[tuple[str, Path, list[str]]]:
    """The runs: config, folder, and what is set."""
    key, _, values = options.vary.partition("=")
    found = []
    for config in options.configs:
        stem = Path(config).stem
        for value in values.split(",") if key else [""]:
            own = [f"{key}={value}", f"method.title={stem} {value}"] if key else []
            found.append((config, scratch / "-".join(part for part in (stem, value) if part), [*options.set, *own]))
    return found


def one_run(config: str, folder: Path, first: Path | None, overrides: list[str]) -> dict[str, Any]:
    """Make one run, on the teachers of the first one where there is one; its times and students."""
    if first is not None and not (folder / "teachers").exists():
        shutil.copytree(first / "teachers", folder / "teachers")
    began = time.monotonic()
    raydc("run", config, "--set", f"output={folder}", *(word for value in overrides for word in ("--set", value)))
    status, metrics = (json.loads((folder / name).read_text()) for name in ("status.json", "metrics.json"))
    print(f"{config}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return {
        "config": config,
        "total_s": round(time.monotonic() - began, 2),
        "stage_s": {stage: round(value, 2) for stage, value in status["seconds"].items()},
        "dataset_id": metrics["dataset_id"],
        "evaluations": metrics["evaluations"],
    }


def table(found: list[Compared]) -> list[dict[str, Any]]:
    """Every line of the comparison as numbers."""
    return [
        {
            "method": cells(line)[0],
            "data": line.group.data,
            "student": line.group.student,
            "labels": line.group.labels,
            "top1_last": [run.top1_last for run in line.group.runs],
            "top1_best": [run.top1_best for run in line.group.runs],
            "against_random": list(line.verdict.differences) if line.verdict else None,
            "outcome": line.verdict.outcome if line.verdict else None,
            "label_bytes": line.group.label_bytes,
            "worker_s_per_image": round(line.run.seconds, 4),
        }
        for line in ordered(found)
    ]


if __name__ == "__main__":
    main()
