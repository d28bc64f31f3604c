"""How many labels a second, against the field's loop?

The loop that papers publish: a DataLoader over class folders that opens one image at a time, crops and flips it, one
CutMix for the batch, the teacher, and one file a batch with `torch.save` (as SRe2L's `generate_soft_label.py` does, in
our own words). Against it the actor of the relabel stage on the same images, teacher, views and number of threads:
shards decoded once, views drawn and rendered together, one file for all views of a shard, and the loss of the codec
measured. In turns, in one process. The teachers are small, so that what is around them shows.

    python benchmarks/bench_labels.py --scratch /tmp/bench-labels
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
import ray
import torch
import yaml
from common import RECORDS, raydc, write_record
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from raydc.engine.ensemble import teachers
from raydc.engine.labeler import Labeler
from raydc.engine.run import Run, read_run
from raydc.sources.condensed import CondensedDataset
from raydc.sources.decode import encode
from raydc.teachers.ensemble import Teachers

CPU = torch.device("cpu")
SIDES = {32: [16, 32, 64], 224: [16, 16, 16, 16]}
"""Sides of pictures, and the widths of the ResNet that labels them, a block each."""
CLASSES = 16


def main() -> None:
    """Measure every size, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    options = parser.parse_args()
    scratch = Path(options.scratch).resolve()
    shutil.rmtree(scratch, ignore_errors=True)
    found = []
    for side, widths in SIDES.items():
        run = prepared(scratch / str(side), side, widths, options)
        folders = as_folders(run, scratch / str(side) / "folders")
        seconds: dict[str, list[float]] = {"loop": [], "raydc": []}
        with ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False):
            for n in range(options.repeats):
                seconds["loop"].append(loop(folders, side, teachers(run, CPU), options, scratch / "files"))
                seconds["raydc"].append(ours(run, n))
        labels = options.images * options.views
        found.append({"side": side, "widths": widths, "labels": labels, "seconds": seconds,
                      "ratio": statistics.mean(seconds["loop"]) / statistics.mean(seconds["raydc"])})  # fmt: skip
        for name, values in seconds.items():
            rates = [labels / v for v in values]
            print(f"{side} px: {name} {statistics.mean(rates):.0f} labels/s ± {statistics.pstdev(rates):.0f}")
        print(f"ratio {found[-1]['ratio']:.2f}")
    record = {"images": options.images, "views": options.views, "found": found}
    what = "labels a second, the field's loop against the relabel stage's actor, one thread each"
    print(write_record("labels", what, record, Path(options.records)))


def prepared(scratch: Path, side: int, widths: list[int], options: argparse.Namespace) -> Run:
    """A run with a teacher and packed pictures: generated ones, for only the work counts here."""
    arch = {"use": "small", "name": "resnet", "options": {"widths": widths, "blocks": [1] * len(widths)}}
    train = {"epochs": 1, "batch": 64, "optimizer": {"use": "sgd", "lr": 0.01}}
    ipc = options.images // CLASSES
    tree = {
        "name": "labels", "output": str(scratch / "run"), "method": {"name": "none"},
        "data": {"name": "generated", "use": "generated", "classes": CLASSES, "image_size": side, "images": 2 * ipc},
        "squeeze": {"teachers": [{"name": "small", "arch": arch, "train": train}]},
        "synthesize": {"ipc": ipc, "steps": 0, "initialize": {"use": "real"}},
        "relabel": {"views": options.views, "view": {"mix": {"use": "cutmix"}}},
        "evaluate": {"students": []},
    }  # fmt: skip
    scratch.mkdir(parents=True)
    (scratch / "run.yaml").write_text(yaml.safe_dump(tree))
    for stage in ("squeeze", "synthesize", "pack"):
        raydc(stage, str(scratch / "run.yaml"))
    return read_run(str(scratch / "run"))


def as_folders(run: Run, folder: Path) -> Path:
    """The packed pictures as class folders."""
    data = CondensedDataset(run.dataset("condensed").url)
    for row in range(len(data)):
        image, label, _, _ = data[row]
        place = folder / f"{label:05d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{row:06d}.png").write_bytes(encode(image, "png"))
    return folder


def ours(run: Run, repeat: int) -> float:
    """Seconds of the relabel stage's actor for the one shard; anew at each repeat."""
    settings = run.config.relabel
    assert settings is not None
    named = run.config.model_copy(update={"relabel": settings.model_copy(update={"name": f"soft{repeat}"})})
    actor = Labeler(Run(named, run.url))
    _ = actor.teachers
    began = time.perf_counter()
    actor.label("condensed", 0)
    return time.perf_counter() - began


def loop(folders: Path, side: int, teacher: Teachers, options: argparse.Namespace, out: Path) -> float:
    """Seconds of the field's loop; teacher and folders are there already."""
    view = transforms.Compose(
        [transforms.RandomResizedCrop(side), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    loader = DataLoader(ImageFolder(str(folders), view), batch_size=128, shuffle=True)
    generator = np.random.default_rng(0)
    began = time.perf_counter()
    with torch.inference_mode():
        for epoch in range(options.views):
            (out / f"epoch_{epoch}").mkdir(parents=True, exist_ok=True)
            for number, (images, _) in enumerate(loader):
                order, kept, box = cutmix(images, side, generator)
                logits = teacher.answer(images).half()
                torch.save([order, kept, box, logits], out / f"epoch_{epoch}" / f"batch_{number}.tar")
    return time.perf_counter() - began


def cutmix(images: torch.Tensor, side: int, generator: np.random.Generator) -> tuple[torch.Tensor, float, list[int]]:
    """One box of the others for the whole batch, in place: who they are, lambda, and the box."""
    order, kept = torch.randperm(len(images)), generator.beta(1.0, 1.0)
    half = int(side * np.sqrt(1 - kept)) // 2
    y, x = (int(generator.integers(0, side)) for _ in "yx")
    top, bottom, left, right = (min(side, max(0, v)) for v in (y - half, y + half, x - half, x + half))
    images[:, :, top:bottom, left:right] = images[order][:, :, top:bottom, left:right]
    return order, kept, [top, bottom, left, right]


if __name__ == "__main__":
    main()
