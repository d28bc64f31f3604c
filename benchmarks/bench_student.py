"""How many images a second does a student learn from, by each execution of its training step?

ResNet-18 (1,000 classes) at 64 and 224 pixels, soft targets, SGD. `plain` is the step as it is usually written: eager,
fp32, contiguous tensors. The others are raydc's own step (`raydc/teachers/fit.py`, channels last on a CPU) by the
executions that `engine.execution.evaluate` can name. All in one process; a round takes a few steps of each in an order
that rotates, and ratios are taken within a round. The first step, with its compilation, stands apart.

    python benchmarks/bench_student.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RECORDS, write_record
from torch import nn
from torch.nn import functional as F

from raydc.config.axes.execution import EXECUTIONS
from raydc.config.axes.optimize import Sgd, Training
from raydc.config.stages.networks import Arch
from raydc.keys import Key
from raydc.teachers.fit import Fit
from raydc.teachers.networks import build
from raydc.teachers.targets import Soft

CLASSES = 1000
WAYS = ["eager", "compiled", "eager-bf16", "compiled-bf16"]
SGD = Sgd(use="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)


def main() -> None:
    """Measure both sizes, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batches", type=int, nargs=2, default=[64, 32], help="images a step at 64 and at 224 pixels")
    parser.add_argument("--steps", type=int, default=2, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = [measured(*pair, options) for pair in zip((64, 224), options.batches, strict=True)]
    record = {"steps": options.steps, "rounds": options.rounds, "found": found}
    print(write_record("student", "images a second of a student's training step", record, Path(options.records)))


def measured(side: int, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """One size, every way."""
    x = torch.from_numpy(Key((side, "x")).uniform(batch, 3, side, side)).float()
    target = Soft(torch.from_numpy(Key((side, "z")).normal(batch, CLASSES)), 4.0)
    ways: dict[str, Callable[[], Any]] = {"plain": plain(side, x, target)}
    ways |= {name: ours(name, side, x, target) for name in WAYS}
    first, wall, spent = dict[str, float](), {w: list[float]() for w in ways}, {w: list[float]() for w in ways}
    for way, step in ways.items():
        began = time.perf_counter()
        step()
        first[way] = time.perf_counter() - began
        step()
    for n in range(options.rounds):
        for way in [*ways][n % len(ways) :] + [*ways][: n % len(ways)]:
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(options.steps):
                ways[way]()
            wall[way].append((time.perf_counter() - began) / options.steps)
            spent[way].append((time.process_time() - cpu) / options.steps)
    entries = {}
    for way in ways:
        entries[way] = {"step_s": wall[way], "step_cpu_s": spent[way], "first_s": first[way],
                        "images_per_s": batch / statistics.median(wall[way]),
                        "times_plain": {"wall": ratio(wall["plain"], wall[way]),
                                        "cpu": ratio(spent["plain"], spent[way])}}  # fmt: skip
        clock, cpu = (entries[way]["times_plain"][kind] for kind in ("wall", "cpu"))
        print(f"{side} px {way}: {entries[way]['images_per_s']:.1f} images/s, x{clock['median']:.2f} "
              f"({clock['p10']:.2f}-{clock['p90']:.2f}) by the clock, x{cpu['median']:.2f} ({cpu['p10']:.2f}-"
              f"{cpu['p90']:.2f}) by CPU time, first step {first[way]:.0f} s", flush=True)  # fmt: skip
    return {"side": side, "batch": batch, "ways": entries}


def ratio(base: list[float], other: list[float]) -> dict[str, float]:
    """Of each round; the median, and the range without the outer tenths."""
    low, middle, high = np.quantile(np.array(base) / np.array(other), [0.1, 0.5, 0.9])
    return {"median": float(middle), "p10": float(low), "p90": float(high)}


def network(side: int) -> nn.Module:
    """ResNet-18 with the same first weights for every way."""
    return build(Arch(use="torchvision", name="resnet18"), CLASSES, side, Key((side, "weights")))


def plain(side: int, x: torch.Tensor, target: Soft) -> Callable[[], Any]:
    """The step as it is usually written."""
    made = network(side).train()
    optimizer = torch.optim.SGD(made.parameters(), lr=SGD.lr, momentum=SGD.momentum, weight_decay=SGD.weight_decay)
    wanted = F.softmax(target.logits / 4.0, dim=1)

    def step() -> None:
        optimizer.zero_grad()
        loss = F.kl_div(F.log_softmax(made((x - 0.5) / 0.25) / 4.0, dim=1), wanted, reduction="batchmean")
        loss.backward()
        optimizer.step()

    return step


def ours(name: str, side: int, x: torch.Tensor, target: Soft) -> Callable[[], Any]:
    """The step of a student."""
    recipe = Training(epochs=1000, optimizer=SGD)
    fit = Fit(network(side), recipe, key=Key((side, "steps")), execution=EXECUTIONS[name])
    fit.start_epoch(0)
    return lambda: fit.step(x, target)


if __name__ == "__main__":
    main()
