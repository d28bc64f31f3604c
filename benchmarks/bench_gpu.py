"""All that is worth knowing of a CUDA device in one go: are its results right, how fast is it, and what binds?

Correctness: every execution's gradient against that of the CPU in fp64, on four architectures; codecs against NumPy,
byte for byte; a block twice, bit for bit; the tests that only a GPU can run. Speed: the synthesis step of ResNet-18 at
224 in every execution, with 1, 2 and 4 blocks of 100 in a launch, as image-steps a second and as a share of the floor;
EDC's step under each of its teachers; peak memory; the kernels that take the time. Needs neither Ray nor data. Each
part writes a record of its own as soon as it is done, and one that fails is told and left behind.

    python benchmarks/bench_gpu.py --records records
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_synthesis import compared, gradients, made, objective, sync, teacher
from common import RECORDS, ROOT, write_record
from plain_step import PlainStep
from torch.profiler import ProfilerActivity, profile

from raydc.condense import codecs
from raydc.condense.synthesize import Synthesis
from raydc.keys import Key
from raydc.labels.codecs import codec_of
from raydc.teachers.ambient import pin

FLOOR = {"H100": 57_700, "H200": 82_700}
"""Image-steps a second of ResNet-18 at 224 where every activation is moved once in 16 bits (performance study, 5)."""
EXECUTIONS = ("eager", "eager-fp16", "compiled", "compiled-fp16", "graph", "graph-fp16", "graph-bf16")
FAST = ("compiled-fp16", "graph-fp16")
NETWORKS = ("resnet18", "mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x0_5")
CODECS = ({"use": "fp16"}, {"use": "int8"}, {"use": "int4"}, {"use": "top_k", "k": 100})
CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def main() -> None:
    """Do every part, or those that are named."""
    parts: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "tests": tested, "codecs": encoded, "speed": speed, "equality": equality, "edc": edc, "profile": profiled,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--parts", default=",".join(parts))
    parser.add_argument("--launches", default="1,2,4", help="blocks of 100 in a launch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps a round")
    parser.add_argument("--records", default=str(RECORDS))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this machine has no CUDA device")
    pin(1)
    failed = []
    for name in options.parts.split(","):
        began = time.perf_counter()
        try:
            found = parts[name](options)
        except Exception:  # the device is lent for minutes: one part that fails must not cost the others
            failed.append(name)
            traceback.print_exc()
            found = {"error": traceback.format_exc()}
        record = {"device": torch.cuda.get_device_name(), "took_s": time.perf_counter() - began, **found}
        print(write_record(f"gpu-{name}", f"a CUDA device: {name}", record, Path(options.records)), flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def tested(_: argparse.Namespace) -> dict[str, Any]:
    """The tests that only a GPU can run."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/condense/test_execution.py", "-k", "gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout[-2000:])
    return {"returncode": done.returncode, "said": done.stdout[-4000:]}


def encoded(_: argparse.Namespace) -> dict[str, Any]:
    """Rows of every codec, made on the device, beside NumPy's: bytes that differ, and labels a second."""
    found = {}
    for width in (1000, 10_450):
        logits = torch.from_numpy(4.0 * Key(("logits",)).normal(2048, width)).to(CUDA)
        for settings in CODECS:
            codec = codec_of(**settings)
            ours, right = codecs.encode(logits, codec).cpu().numpy(), codec.encode(logits.cpu().numpy())
            seconds = median(lambda c=codec, z=logits: codecs.encode(z, c), 5)
            found[f"{settings['use']}-{width}"] = {
                "different_bytes": int(np.count_nonzero(ours != right)), "labels_per_s": len(logits) / seconds,
            }  # fmt: skip
    print(found)
    return {"codecs": found}


def equality(options: argparse.Namespace) -> dict[str, Any]:
    """Gradients of every execution against the eager one of the CPU in fp64, and two blocks of the same key."""
    rows = []
    settings = argparse.Namespace(batch=8, side=224)
    config = objective("sre2l", 1)
    for name in NETWORKS:
        arch, network, known = teacher(name, settings.side, config, CPU)
        exact = gradients(
            doubled(made(Synthesis, config, [(arch, network.double(), known)], "eager", settings, CPU)), 1
        )
        network.float().to(CUDA)
        for execution in EXECUTIONS if name == "resnet18" else FAST:
            block = made(Synthesis, config, [(arch, network, known)], execution, settings, CUDA)
            found = compared(gradients(block, 1)[0].cpu(), exact[0])
            rows.append({"network": name, "execution": execution, **found, "repeats": repeats(
                lambda a=arch, n=network, k=known, e=execution: made(Synthesis, config, [(a, n, k)], e, settings, CUDA)
            )})  # fmt: skip
            print(rows[-1], flush=True)
        network.cpu()
    return {"gradients": rows}


def doubled(block: Synthesis) -> Synthesis:
    """The same block in fp64."""
    block._enter(block.x.detach().double())
    return block


def repeats(make: Callable[[], Synthesis]) -> bool:
    """Whether a block that is made twice has the same bits after some steps."""
    ends = []
    for _ in range(2):
        block = make()
        for _ in range(8):
            block.step()
        ends.append(block.x.detach().clone())
    return bool(torch.equal(*ends))


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """ResNet-18 at 224: image-steps a second, peak memory and the share of the floor."""
    return {"speed": paces("sre2l", "resnet18", options, [int(n) for n in options.launches.split(",")], EXECUTIONS)}


def edc(options: argparse.Namespace) -> dict[str, Any]:
    """EDC's step under each of its teachers, blocks of 100, and the rate of a turn through all."""
    rows = []
    for name in (*NETWORKS, "alexnet"):
        rows += paces("edc", name, options, [1], ("eager", *FAST))
    means = {}
    for execution in ("plain", "eager", *FAST):
        own = [row for row in rows if row["execution"] == execution and "image_steps_per_s" in row]
        if len(own) == len(NETWORKS) + 1:
            means[execution] = len(own) / sum(1 / row["image_steps_per_s"] for row in own)
    print("mean of a turn", means)
    return {"speed": rows, "mean_image_steps_per_s": means}


def paces(
    method: str, network: str, options: argparse.Namespace, launches: list[int], executions: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Rounds of steps of the plain form and of every execution, one after another for each number of blocks."""
    config, rows = objective(method, 1), []
    known = teacher(network, 224, config, CUDA)
    floor = next((f for name, f in FLOOR.items() if name in torch.cuda.get_device_name()), None)
    settings = argparse.Namespace(batch=100, side=224)
    for blocks in launches:
        size = 100 * blocks
        for execution in ("plain",) * (blocks == 1) + executions:
            row: dict[str, Any] = {"network": network, "execution": execution, "blocks": blocks, "images": size}
            try:
                kind = PlainStep if execution == "plain" else Synthesis
                began = time.perf_counter()
                how = "eager" if execution == "plain" else execution
                block = made(kind, config, [known], how, settings, CUDA, blocks)
                for _ in range(6):
                    block.step()
                sync(CUDA)
                row["first_s"] = time.perf_counter() - began
                torch.cuda.reset_peak_memory_stats()
                each = [timed_steps(block, options.steps) for _ in range(options.rounds)]
                row |= {"seconds_a_step": each, "image_steps_per_s": size / statistics.median(each),
                        "peak_bytes": torch.cuda.max_memory_allocated()}  # fmt: skip
                if floor and network == "resnet18" and method == "sre2l":
                    row["share_of_floor"] = row["image_steps_per_s"] / floor
                del block
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {str(error)[:500]}"
            torch.cuda.empty_cache()
            print(row, flush=True)
            rows.append(row)
    return rows


def timed_steps(block: Any, steps: int) -> float:
    """Seconds a step."""
    sync(CUDA)
    began = time.perf_counter()
    for _ in range(steps):
        block.step()
    sync(CUDA)
    return (time.perf_counter() - began) / steps


def profiled(options: argparse.Namespace) -> dict[str, Any]:
    """The kernels that take the time of a step, by execution: name, share, calls a step, microseconds a step."""
    config, found = objective("sre2l", 1), {}
    known = teacher("resnet18", 224, config, CUDA)
    for execution in FAST:
        block = made(Synthesis, config, [known], execution, argparse.Namespace(batch=100, side=224), CUDA)
        for _ in range(6):
            block.step()
        sync(CUDA)
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
            for _ in range(5):
                block.step()
            sync(CUDA)
        rows = [
            {"kernel": e.key[:120], "us_per_step": e.self_device_time_total / 5, "calls_per_step": e.count / 5}
            for e in seen.key_averages() if e.self_device_time_total
        ]  # fmt: skip
        rows.sort(key=lambda row: -row["us_per_step"])
        found[execution] = {"device_us_per_step": sum(r["us_per_step"] for r in rows), "kernels": rows[:40]}
        print(execution, rows[:12])
    return {"profile": found}


def median(call: Callable[[], Any], times: int) -> float:
    """The median seconds of a call, after a warm one."""
    found = []
    for _ in range(times + 1):
        sync(CUDA)
        began = time.perf_counter()
        call()
        sync(CUDA)
        found.append(time.perf_counter() - began)
    return statistics.median(found[1:])


if __name__ == "__main__":
    main()
