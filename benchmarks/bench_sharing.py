"""What do teacher weights and statistics cost the workers of one node in memory, and what would private copies cost?

Actors load them on the product's own path (a local file, or a copy fetched once a node, mapped by all), and in the same
way as private copies. Every actor's memory is read before, after loading, and after use. USS counts pages that nobody
else maps, so with one actor it holds the mapped file too; PSS shares every page out among those who map it, so its sum
over actors is what the node pays.

    python benchmarks/bench_sharing.py --actors 1 2 4 --statistics-mib 400
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import ray
import safetensors.torch
import torch
from common import RECORDS, ROOT, write_record

from raydc.config import load
from raydc.config.stages.networks import Arch, Normalize
from raydc.engine.cluster import cluster
from raydc.engine.run import Run
from raydc.engine.weights import local_copy, read_record, teacher, tensors
from raydc.store.folder import Folder
from raydc.teachers.checkpoint import match
from raydc.teachers.networks import build, skeleton
from raydc.teachers.teacher import TeacherRecord, save

CLASSES, ROWS = 10_450, 100
"""Classes of ImageNet-21K, and of one block."""
STATISTICS = "moments.safetensors"
KINDS = ("private", "mapped", "fetched")
"""A copy of one's own; the file of a run folder on this disk; the node's copy of a file that lies elsewhere."""
SIMPLE = ("after a forward pass", "all rows")
"""Steps that mean something for a private copy too."""
COLUMNS = ("rss", "uss", "pss", "peak")
MIB = 2**20


def main() -> None:
    """Run, print the table, record."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="rd", dir="/tmp") as scratch:
        os.environ["RAY_TMPDIR"] = os.environ["TMPDIR"] = scratch
        tempfile.tempdir = None
        folder = Path(scratch) / "run"
        made = prepare(folder, options)
        with cluster():
            cases = [(what, kind, n) for what in made for kind in KINDS for n in options.actors]
            rows = [row for what, kind, n in cases for row in one(folder, what, kind, n)]
        ahead = read_ahead(folder)
    sizes = {what: size for what, (_, size) in made.items()}
    found = {"file_bytes": sizes, "row_bytes": sizes["statistics"] // CLASSES, "read_ahead_kib": ahead, "rows": rows}
    target = write_record("sharing", __doc__.split("\n\n")[0].replace("\n", " "), found, Path(options.records))
    print(table(rows))
    print(target)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--network", default="resnet50", help="of torchvision")
    parser.add_argument("--statistics-mib", type=int, default=400)
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    return parser.parse_args()


def read_ahead(folder: Path) -> int | None:
    """KiB that the system reads when one page of a mapped file is touched; None where the disk does not tell."""
    disk = folder.stat().st_dev
    said = Path(f"/sys/dev/block/{os.major(disk)}:{os.minor(disk)}/queue/read_ahead_kb")
    return int(said.read_text()) if said.exists() else None


def prepare(folder: Path, options: argparse.Namespace) -> dict[str, tuple[str, int]]:
    """A run folder with a teacher and statistics; of each the name or digest that finds it, and its size in bytes."""
    arch = Arch(use="torchvision", name=options.network)
    path = folder / "teachers" / "teacher.safetensors"
    path.parent.mkdir(parents=True)
    record = TeacherRecord(
        name="teacher", arch=arch, normalize=Normalize(), outputs=1000, image_size=224,
        sha256=save(build(arch, 1000, 224), path), origin="a benchmark",
    )  # fmt: skip
    Folder(path.parent).write_json("teacher.json", record.model_dump(mode="json"))
    width = options.statistics_mib * MIB // (2 * 4 * CLASSES)
    moments = {name: torch.rand(CLASSES, width) for name in ("mean", "variance")}
    written = Folder(folder / "statistics").write(STATISTICS, safetensors.torch.save(moments))
    return {"teacher": ("teacher", path.stat().st_size), "statistics": (written.sha256, written.bytes)}


class Holder:
    """An actor that loads what a worker loads, and looks at its own memory."""

    def __init__(self, folder: str, kind: str) -> None:
        torch.set_num_threads(1)
        self.run = Run(load(ROOT / "configs" / "quickstart.yaml"), folder)
        self.kind, self.held = kind, None
        # What the first network imports and the first convolution sets up belongs to no teacher.
        build(Arch(use="torchvision", name="squeezenet1_1"), 2, 64)

    def memory(self, again: bool = False) -> dict[str, float]:
        """Bytes of this process; ``peak`` is its largest RSS since the last call with ``again``."""
        info = psutil.Process().memory_full_info()
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
        if again:
            Path("/proc/self/clear_refs").write_text("5")
        return {"rss": info.rss, "uss": info.uss, "pss": info.pss, "peak": info.rss if again else peak,
                "read": psutil.Process().io_counters().read_bytes}  # fmt: skip

    def teacher(self) -> float:
        """Load the teacher; seconds."""
        began = time.perf_counter()
        if self.kind == "private":
            record = read_record(self.run.teachers(), "teacher")
            module = skeleton(record.arch, record.outputs, record.image_size)
            state = safetensors.torch.load(self.run.teachers().read("teacher.safetensors"))
            module.load_state_dict(match(state, module, origin="a benchmark"), assign=True)
            self.held = module.eval().requires_grad_(False)
        else:
            self.held = teacher(self.run, "teacher", torch.device("cpu")).module
        return time.perf_counter() - began

    def forward(self, images: int) -> None:
        """Ask the teacher about some images."""
        with torch.inference_mode():
            self.held(torch.zeros(images, 3, 224, 224))

    def statistics(self, sha256: str) -> float:
        """Take up the statistics; seconds."""
        began, folder = time.perf_counter(), self.run.folder.child("statistics")
        if self.kind == "private":
            self.held = safetensors.torch.load(folder.read(STATISTICS))
        else:
            self.held = tensors(folder, STATISTICS, sha256)
            self.path = local_copy(folder, STATISTICS, sha256)
        return time.perf_counter() - began

    def forget(self) -> None:
        """Let the system drop what it holds of the file: from now on rows come from the disk."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())  # what has not reached the disk yet cannot be dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def recall(self) -> None:
        """Bring the file back into the system's memory, as the check of the next worker's digest does."""
        Folder(self.path.parent).digest(self.path.name)

    def rows(self, rows: list[int]) -> float:
        """Use some rows: a slice where they are neighbours, as those of a block are."""
        neighbours = rows == list(range(rows[0], rows[-1] + 1))
        chosen = slice(rows[0], rows[-1] + 1) if neighbours else torch.tensor(rows)
        return float(sum(t[chosen].sum() for t in self.held.values()))


def one(folder: Path, what: str, kind: str, count: int) -> list[dict[str, Any]]:
    """Some actors that load one thing in one way: their memory at every step, beyond what they had before."""
    url = f"local://{folder}" if kind == "fetched" else str(folder)
    actors = [ray.remote(Holder).options(num_cpus=0).remote(url, kind) for _ in range(count)]
    before = ray.get([a.memory.remote(again=True) for a in actors])
    digest = Folder(folder / "statistics").digest(STATISTICS).sha256 if what == "statistics" else ""
    seconds = ray.get([a.teacher.remote() if what == "teacher" else a.statistics.remote(digest) for a in actors])
    found = []

    def look(step: str) -> None:
        after = ray.get([a.memory.remote() for a in actors])
        each = [{c: now[c] - was[c] for c in (*COLUMNS, "read")} for now, was in zip(after, before, strict=True)]
        found.append({"what": what, "kind": kind, "actors": count, "step": step, "seconds": seconds, "each": each})

    look("loaded")
    for step, use in (uses(actors) if what == "statistics" else forwards(actors)).items():
        if kind != "private" or step in SIMPLE:
            use()
            look(step)
    for actor in actors:
        ray.kill(actor)
    return found


def forwards(actors: list[Any]) -> dict[str, Callable[[], Any]]:
    """How a teacher is used."""
    return {"after a forward pass": lambda: ray.get([a.forward.remote(2) for a in actors])}


def uses(actors: list[Any]) -> dict[str, Callable[[], Any]]:
    """How statistics are used: every actor another block, first from a cold disk, then rows all over, then all."""
    scattered = sorted(random.Random(0).sample(range(CLASSES), ROWS))

    def block(number: int) -> Callable[[], Any]:
        firsts = [(number * len(actors) + n) * ROWS for n in range(len(actors))]
        return lambda: ray.get([a.rows.remote(list(range(f, f + ROWS))) for a, f in zip(actors, firsts, strict=True)])

    def cold() -> None:
        ray.get([a.forget.remote() for a in actors])
        block(0)()

    def warm() -> None:
        ray.get(actors[0].recall.remote())
        block(1)()

    return {
        "100 rows of a block, from disk": cold,
        "100 rows all over, from disk": lambda: ray.get([a.rows.remote(scattered) for a in actors]),
        "100 rows of a block, in page cache": warm,
        "all rows": lambda: ray.get([a.rows.remote(list(range(CLASSES))) for a in actors]),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """MiB beyond what an actor had before: mean over actors, and the sum of PSS, which is what the node pays."""
    lines = ["| what | way | actors | step | RSS | USS | PSS | node | peak RSS | read | s |", "|---" * 11 + "|"]
    for row in rows:
        mean = {c: statistics.mean(e[c] for e in row["each"]) / MIB for c in (*COLUMNS, "read")}
        node = sum(e["pss"] for e in row["each"]) / MIB
        cells = [mean["rss"], mean["uss"], mean["pss"], node, mean["peak"], mean["read"]]
        numbers = " | ".join(f"{v:.1f}" for v in cells)
        last = f"{statistics.mean(row['seconds']):.2f}"
        lines.append(f"| {row['what']} | {row['kind']} | {row['actors']} | {row['step']} | {numbers} | {last} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
