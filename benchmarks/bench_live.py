"""What do live labels cost a student, made by its own worker or by a pool of labellers, against stored ones?

Packs random pictures, and lets one student a way learn from them: with stored labels, with live labels of its own, and
with live labels that a pool brings. A training of one epoch pays for the start (of the pool, too); the pace is that of
the epochs after it. The record says for how much of that time the student had no batch (views are rendered in it, too),
and how often a pool was begun: as often were teachers loaded. What is on its way is bounded by engine/labellers.py.

    python benchmarks/bench_live.py --labellers 1 --epochs 12 --record
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import RECORDS, spread, write_record

from raydc.config.load import merge, validate
from raydc.engine import evaluate
from raydc.engine.bench import Bench
from raydc.engine.cluster import cluster
from raydc.engine.relabel import relabel
from raydc.engine.run import Run, open_run
from raydc.keys import Key
from raydc.sources.base import Source, open_source
from raydc.sources.decode import encode
from raydc.store.manifest import ImageFile, Images, Manifest, publish
from raydc.store.manifest import Source as Origin
from raydc.store.shards import Sample, image_shard, keys_digest
from raydc.teachers.networks import build
from raydc.teachers.teacher import TeacherRecord, save

WAYS = ("stored", "live, by the student's worker", "live, by labellers")


def main() -> None:
    """Run, print the table, record."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="rd", dir="/tmp") as scratch:
        os.environ["RAY_TMPDIR"] = scratch
        with cluster():
            rows = [one(way, Path(scratch), options, n) for n in range(options.repeats) for way in WAYS]
    found = [summed(way, [row for row in rows if row["way"] == way]) for way in WAYS]
    for line in found:
        print(f"{line['way']:>30}: {line['images_per_s']['mean']:8.1f} images/s, waiting "
              f"{100 * line['share_of_input']['mean']:4.1f} %, start {line['start_s']['mean']:5.1f} s")  # fmt: skip
    if options.record:
        settings = {k: v for k, v in vars(options).items() if k not in ("record", "records")}
        what = __doc__.split("\n\n")[0].replace("\n", " ") if __doc__ else ""
        print(write_record("live", what, {"settings": settings, "ways": found}, Path(options.records)))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--shard", type=int, default=256, help="images a shard")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--teacher", default="resnet18", help="of timm")
    parser.add_argument("--student", default="resnet10t", help="of timm")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--labellers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="write what was found")
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    return parser.parse_args()


def one(way: str, scratch: Path, options: argparse.Namespace, repeat: int) -> dict[str, Any]:
    """Let one student learn in one way."""
    run, source = prepared(scratch / f"{WAYS.index(way)}-{repeat}", way, options)
    began = time.perf_counter()
    if way == WAYS[0]:
        relabel(run, ["condensed"], lambda *_: None, lambda *_, **__: None)
    labelled = time.perf_counter() - began
    labellers = options.labellers if way == WAYS[2] else 0
    bench = Bench(run, source, evaluate.jobs(run), partial(evaluate.settled, run), labellers=labellers)
    (job,) = bench.jobs.values()
    training = bench._training(job, bench.settled(job), None)
    if bench.pool is not None:
        bench.pool.begin(bench._pieces(job, 0))
    epochs = iter(training)
    next(epochs)
    start, waited, tested = training.seconds, training.waited, time.perf_counter()
    list(epochs)
    seconds = time.perf_counter() - tested
    bench.close()
    return {
        "way": way,
        "label_s": labelled,
        "start_s": start,
        "images_per_s": (options.epochs - 1) * options.images / seconds,
        "share_of_input": (training.waited - waited) / seconds,
        "streams": bench.pool.opened if bench.pool is not None else 0,
    }


def summed(way: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread of every number of one way."""
    names = ("label_s", "start_s", "images_per_s", "share_of_input", "streams")
    return {"way": way, **{name: spread([row[name] for row in rows]) for name in names}}


def prepared(folder: Path, way: str, options: argparse.Namespace) -> tuple[Run, Source]:
    """A run with a teacher of random weights and a packed set of random pictures."""
    arch = {"use": "timm", "name": options.teacher}
    train = {"epochs": 1, "batch": 32, "optimizer": {"use": "sgd", "lr": 0.1}}
    stored = way == WAYS[0]
    tree = {
        "name": "live", "output": str(folder), "method": {"name": "sre2l"},
        "data": {"use": "generated", "classes": options.classes, "images": 4, "image_size": options.side},
        "squeeze": {"teachers": [{"name": "teacher", "arch": arch, "train": train}]},
        "synthesize": {"ipc": -(-options.images // options.classes), "blocks": {"size": 8}, "steps": 1,
                       "initialize": {"use": "noise"}, "objective": [{"use": "cross_entropy"}],
                       "optimizer": {"lr": 0.1}, "augment": [{"use": "flip"}]},
        "relabel": {"views": options.epochs + options.images // options.shard, "mode": "stored" if stored else "live",
                    "view": {"mix": {"use": "cutmix"}}},
        "evaluate": {"students": [{"name": "student", "arch": {"use": "timm", "name": options.student}}],
                     "data": ["condensed"], "labels": ["soft"], "seeds": [0], "epochs": options.epochs,
                     "batch": options.batch, "test_every": options.epochs},
    }  # fmt: skip
    run = open_run(validate(merge({}, tree), "a benchmark"))
    source = open_source(run.config.data, run.key.child("holdout"))
    teacher = run.config.squeeze.teachers[0]
    path = folder / "teachers" / "teacher.safetensors"
    path.parent.mkdir(parents=True)
    record = TeacherRecord(
        name="teacher", arch=teacher.arch, normalize=teacher.normalize, outputs=options.classes,
        image_size=options.side, origin="a benchmark",
        sha256=save(build(teacher.arch, options.classes, options.side, Key((1,))), path),
    )  # fmt: skip
    run.teachers().write_json("teacher.json", record.model_dump(mode="json"))
    packed(run, options, list(source.classes))
    return run, source


def packed(run: Run, options: argparse.Namespace, names: list[str]) -> None:
    """Write random pictures as the run's data set."""
    files, place, side = [], run.dataset("condensed"), options.side
    for s, first in enumerate(range(0, options.images, options.shard)):
        count = min(options.shard, options.images - first)
        pixels = Key(("bench", s)).integers(0, 256, count, side, side, 3).astype(np.uint8)
        samples = [
            Sample(i % len(names), names[i % len(names)].split()[0], i // len(names), i, "block", "png",
                   encode(pixels[i - first], "png"))
            for i in range(first, first + count)
        ]  # fmt: skip
        data, keys = image_shard(samples, first)
        written = place.write(f"images/train-{s:06d}.tar", data)
        files.append(ImageFile(**vars(written), samples=count, keys_sha256=keys_digest(keys)))
    images = Images(count=options.images, size=(side, side), codec="png", permutation_seed=0, files=files)
    origin = Origin(name="bench", classes=len(names))
    publish(place, Manifest(source=origin, images=images, created="2026-01-01T00:00:00Z"), names, "# bench\n")


if __name__ == "__main__":
    main()
