"""How much faster do several workers train one student together, and who waits for input?

Prepares one run to its labels, then has it judged by one student at a time, alternately by 1, 2, ... data-parallel
workers of one CPU each (`evaluate.split`); seconds of training and of waiting for input are those that the results say.
The same seed with another split shows that the accuracy is the same.

    python benchmarks/bench_split.py configs/quickstart.yaml --splits 1 2 --scratch /tmp/split \\
        --set 'evaluate.students=[{name: resnet, arch: {use: small, name: resnet}}]' --set evaluate.epochs=20
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from common import RECORDS, raydc, write_record

from raydc.report.results import spread


def main() -> None:
    """Prepare, judge, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("config")
    parser.add_argument("--splits", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scratch", required=True, help="folder for the run; made anew")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to raydc")
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    options = parser.parse_args()
    folder = Path(options.scratch).resolve() / "run"
    shutil.rmtree(folder, ignore_errors=True)
    always = ["evaluate.data=[condensed]", "evaluate.labels=[soft]", "evaluate.workers=1", *options.set]
    for stage in ("squeeze", "synthesize", "pack", "relabel"):
        call(stage, options.config, folder, always)
    rows = [judged(options.config, folder, always, seed, split) for seed in range(options.repeats)
            for split in options.splits]  # fmt: skip
    found = [summed(split, [row for row in rows if row["split"] == split]) for split in options.splits]
    for line in found:
        print(f"{line['split']} workers: {line['wall_s']['mean']:.1f} ± {line['wall_s']['std'] or 0:.1f} s, "
              f"{100 * line['waiting']:.1f} % of it waiting for input, top-1 {line['top1']}")  # fmt: skip
    what = "one student trained by several data-parallel workers: seconds, and the share of waiting for input"
    record = {"config": options.config, "overrides": options.set, "splits": found, "rows": rows}
    print(write_record("split", what, record, Path(options.records)))


def call(stage: str, config: str, folder: Path, overrides: list[str]) -> None:
    """One stage of the run."""
    raydc(stage, config, "--set", f"output={folder}", *(word for value in overrides for word in ("--set", value)))


def judged(config: str, folder: Path, always: list[str], seed: int, split: int) -> dict[str, Any]:
    """Train one student; what its result says. It would be taken for that of another split, so it is moved away."""
    students = folder / "students"
    call("evaluate", config, folder, [*always, f"evaluate.seeds=[{seed}]", f"evaluate.split={split}"])
    (result,) = [json.loads(path.read_text()) for path in students.glob("*.json")]
    students.rename(folder / f"students-{seed}-{split}")
    shutil.rmtree(folder / "work" / "train")
    kept = {name: result[name] for name in ("wall_s", "input_s", "steps", "top1_last")}
    return {"seed": seed, "split": split, **kept}


def summed(split: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over the repeats."""
    wall = spread([row["wall_s"] for row in rows])
    waiting = sum(row["input_s"] for row in rows) / sum(row["wall_s"] for row in rows)
    return {"split": split, "wall_s": {"mean": wall.mean, "std": wall.std}, "waiting": waiting,
            "top1": [row["top1_last"] for row in rows]}  # fmt: skip


if __name__ == "__main__":
    main()
