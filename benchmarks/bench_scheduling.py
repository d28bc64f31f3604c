"""What does the driver cost at the scale of ImageNet-21K, and how near is a run's end to the best possible?

The product's pool hands out the product's blocks (10,450 classes, 100 a block) to 256 logical workers of mixed speeds,
some of which become four times slower half-way, and writes events and status as a run does. What is real: the driver's
loop, every call over Ray, ``ray.wait`` over all workers, events, files. What is not: the workers' computation (they
sleep), their processes (a few actors answer for all), and so how Ray places and starts actors.

    python benchmarks/bench_scheduling.py --blocks 2090 --seconds 60 --speculate
    python benchmarks/bench_scheduling.py --blocks 20900 --seconds 270
    python benchmarks/bench_scheduling.py --blocks 2090 --profile /tmp/profile.txt
"""

from __future__ import annotations

import argparse
import bisect
import cProfile
import os
import pickle
import pstats
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import ray
from common import RECORDS, write_record
from ideal import foreseeing_schedule, list_schedule, lower_bound
from rich.console import Console
from scheduling_plot import plot
from seats import Seat, Seats
from watcher import watching

from raydc.engine.background import repeating
from raydc.engine.block_maker import Work
from raydc.engine.cluster import cluster
from raydc.engine.pool import Pool
from raydc.plan.blocks import GROUPS
from raydc.report.events import EventLog
from raydc.report.live import PlainView
from raydc.report.status import StatusFile
from raydc.store.folder import Folder

CLASSES, SIZE = 10_450, 100
SPEEDS = {1.0: 5, 0.7: 3, 0.5: 2}
"""Three kinds of device and how common each is; every single one differs from its kind by up to 5 %."""
REAL_MINUTES = (1.0, 3.5, 10.0)
"""Lengths of a real block that the driver's cost is held against. 3.5: 4,000 steps at 1,916 image-steps a second."""


def main() -> None:
    """Run, record, and say where the record lies."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="rd", dir="/tmp") as scratch:
        os.environ["RAY_TMPDIR"] = scratch  # short: paths of sockets are limited
        before = psutil.Process().memory_info().rss
        works = blocks(options.blocks)
        plan = psutil.Process().memory_info().rss - before
        seats = workers(options)
        # So long that all seats together need the wanted time, were blocks divisible.
        pace = sum(seat.work(options.seconds) for seat in seats) / sum(w.images for w in works)
        with cluster():
            run = one_run(works, seats, pace, options, Path(scratch) / "run")
    found = {
        "setup": {**vars(options), "speeds": SPEEDS, "seats": [asdict(s) for s in seats], "seconds_per_image": pace},
        "block": {"pickled_bytes": statistics.mean(len(pickle.dumps(w)) for w in works[:200]), "plan_bytes": plan,
                  "images": Counter(w.images for w in works)},
        **judged(run, works, seats, pace, options.speculate),
    }  # fmt: skip
    name = f"scheduling-{options.blocks}-{'copies' if options.speculate else 'plain'}{options.suffix}"
    target = write_record(name, __doc__.split("\n\n")[1].replace("\n", " "), found, Path(options.records))
    plot(run, target.with_suffix(".png"), found)
    summary = {key: found[key] for key in ("driver", "makespan", "gap_ms")}
    print(f"{target}: {summary}, {found['memory']['uss_bytes_per_1000_blocks']:.0f} bytes a 1,000 blocks")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--blocks", type=int, default=2090)
    parser.add_argument("--workers", type=int, default=256)
    parser.add_argument("--hosts", type=int, default=4, help="actors that answer for the workers")
    parser.add_argument("--seconds", type=float, default=60.0, help="what the run would take at best")
    parser.add_argument("--stragglers", type=float, default=0.05, help="fraction of workers that become slower")
    parser.add_argument("--slower", type=float, default=4.0, help="how many times slower, from half of --seconds on")
    parser.add_argument("--speculate", action="store_true", help="let idle workers copy blocks of slower ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", help="file for a profile of the loop; the record then holds its cost too")
    parser.add_argument("--suffix", default="", help="of the record's name")
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    return parser.parse_args()


def blocks(count: int) -> list[Work]:
    """The first blocks of the smallest ImageNet-21K product that has so many."""
    a_pass = -(-CLASSES // SIZE)
    made = GROUPS["across_classes"](range(CLASSES), -(-count // a_pass), SIZE)
    return [Work("condensed", (block,)) for block in made[:count]]


def workers(options: argparse.Namespace) -> list[Seat]:
    """The seats; the same for the same options."""
    draw = random.Random(options.seed)
    kinds = draw.choices(list(SPEEDS), list(SPEEDS.values()), k=options.workers)
    slow = set(draw.sample(range(options.workers), round(options.stragglers * options.workers)))
    speeds = [kind * draw.uniform(0.95, 1.05) for kind in kinds]
    late = options.seconds / 2
    return [Seat(n, v, late, options.slower) if n in slow else Seat(n, v) for n, v in enumerate(speeds)]


class Waits:
    """``ray.wait``, with the time and the processor time that the driver spends in it."""

    def __init__(self) -> None:
        self.real, self.calls, self.wall, self.cpu = ray.wait, 0, 0.0, 0.0

    def __call__(self, *positional: Any, **named: Any) -> Any:
        """Wait."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return self.real(*positional, **named)
        finally:
            self.wall, self.cpu = self.wall + time.perf_counter() - wall, self.cpu + time.thread_time() - cpu
            self.calls += 1


@contextmanager
def telling(folder: Folder) -> Iterator[Callable[..., None]]:
    """Events as a run's synthesis stage writes them: diary, status, and lines that nobody reads."""
    with ExitStack() as stack:
        nobody = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123
        log = stack.enter_context(EventLog(folder, [StatusFile(folder), PlainView(Console(file=nobody))]))
        log.emit("run_started", run="scheduling", output=folder.url, versions={})
        stack.enter_context(repeating(log.tick, 5.0))
        yield partial(log.emit, stage="synthesize")
        log.emit("run_done")


def one_run(works: list[Work], seats: list[Seat], pace: float, options: argparse.Namespace, to: Path) -> dict[str, Any]:
    """All blocks through the pool, once; everything that was seen, in seconds since the pool was started."""
    hosts, waits, done = Seats(seats, options.hosts, pace), Waits(), []
    profile = cProfile.Profile(time.thread_time) if options.profile else None
    with telling(Folder(to)) as emit, watching(1.0) as samples, mock.patch.object(ray, "wait", waits):

        def on_done(work: Work, receipt: dict[str, Any]) -> None:
            done.append(time.time())
            emit("unit_done", unit=work.id, **receipt)

        emit("stage_started", total=len(works), done=0, unit="block")
        pool: Pool[Work] = Pool(hosts.make, len(seats), 3, on_done, emit, options.speculate, hosts.end)
        zero = hosts.start(works[0])
        waits.wall = waits.cpu = waits.calls = 0
        wall, process, thread = time.perf_counter(), time.process_time(), time.thread_time()
        outcome = profile.runcall(pool.run, works) if profile else pool.run(works)
        spent = {"wall": time.perf_counter() - wall, "process": time.process_time() - process,
                 "thread": time.thread_time() - thread}  # fmt: skip
    if outcome.failed:
        raise RuntimeError(f"{len(outcome.failed)} blocks failed: {next(iter(outcome.failed.values()))}")
    if profile:
        with Path(options.profile).open("w") as file:
            for order in ("tottime", "cumtime"):
                pstats.Stats(profile, stream=file).sort_stats(order).print_stats(35)
    memory = [{**row, "t": row["t"] - zero} for row in samples]
    return {"spent": spent, "waits": {"calls": waits.calls, "wall": waits.wall, "cpu": waits.cpu}, "memory": memory,
            "done": [t - zero for t in done], "attempts": hosts.log()}  # fmt: skip


def judged(run: dict[str, Any], works: list[Work], seats: list[Seat], pace: float, speculate: bool) -> dict[str, Any]:
    """What the raw numbers say; ``ideal`` is the policy that was asked for, in virtual time and at no cost."""
    images, n = [w.images for w in works], len(works)
    spent, waits, attempts = run["spent"], run["waits"], run["attempts"]
    whole = [a for a in attempts if a["done"]]
    made, bound, plain = max(run["done"]), lower_bound(seats, images, pace), list_schedule(seats, images, pace)
    copying = foreseeing_schedule(seats, images, pace)
    ideal = copying if speculate else plain
    loop = {
        "process_cpu_ms_per_block": 1e3 * spent["process"] / n,
        "loop_cpu_ms_per_block": 1e3 * spent["thread"] / n,
        "of_it_in_ray_wait_ms": 1e3 * waits["cpu"] / n,
        # Wall time of the loop in which it did not sleep; on a busy machine it holds the time others took.
        "busy_wall_ms_per_block": 1e3 * (spent["wall"] - waits["wall"] + waits["cpu"]) / n,
        "share_of_a_core": spent["process"] / spent["wall"],
        "blocks_per_s": n / spent["wall"],
        "ray_waits_per_block": waits["calls"] / n,
    }
    busy_s = 1e-3 * loop["busy_wall_ms_per_block"]
    rates = {minutes: len(seats) / (60 * minutes) for minutes in REAL_MINUTES}
    return {
        "driver": loop,
        "with_real_blocks": [
            {"block_minutes": m, "blocks_per_s": r, "driver_busy_fraction": r * busy_s, "workers_it_could_feed":
             int(60 * m / busy_s)} for m, r in rates.items()
        ],
        "makespan": {"measured_s": made, "lower_bound_s": bound, "ideal_s": ideal, "over_bound": made / bound - 1,
                     "over_ideal": made / ideal - 1, "ideal_without_copies_s": plain, "ideal_with_copies_s": copying,
                     "pool_wall_s": spent["wall"]},
        "copies": {"attempts": len(attempts), "cut": len(attempts) - len(whole), "wasted_s": wasted(attempts)},
        "gap_ms": quantiles([1e3 * gap for gap in gaps(attempts)]),
        "overshoot_ms": quantiles([1e3 * (a["end"] - a["due"]) for a in whole]),
        "memory": growth(run),
        "raw": {"memory": run["memory"], "done": [round(t, 4) for t in run["done"]],
                "attempts": [[a["seat"], round(a["begin"], 4), round(a["end"], 4), a["done"]] for a in attempts]},
    }  # fmt: skip


def wasted(attempts: list[dict[str, Any]]) -> float:
    """Worker time that went into attempts that did not count."""
    won: set[str] = set()
    lost = 0.0
    for a in sorted(attempts, key=lambda a: (not a["done"], a["end"])):
        lost += a["end"] - a["begin"] if not a["done"] or a["unit"] in won else 0.0
        won.add(a["unit"])
    return lost


def gaps(attempts: list[dict[str, Any]]) -> list[float]:
    """How long seats waited between two blocks: what the driver's latency costs."""
    last: dict[int, float] = {}
    found = []
    for a in attempts:
        if a["seat"] in last:
            found.append(a["begin"] - last[a["seat"]])
        last[a["seat"]] = a["end"]
    return found


def quantiles(values: list[float]) -> dict[str, float]:
    """Mean, median, 99th percentile and maximum; empty for no values."""
    if not values:
        return {}
    ordered = sorted(values)
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {"mean": statistics.mean(values), **{k: ordered[round(q * (len(ordered) - 1))] for k, q in at.items()}}


def growth(run: dict[str, Any]) -> dict[str, float]:
    """The driver's memory, and its growth with blocks done: least squares over the second half, when Ray is warm."""
    done, rows = run["done"], run["memory"]
    points = [(bisect.bisect(done, row["t"]), row["uss"], row["rss"]) for row in rows if row["t"] >= 0]
    steady = [p for p in points if 0.5 * len(done) <= p[0] < len(done)]
    slopes = {}
    for name, column in (("uss", 1), ("rss", 2)):
        fits = len({p[0] for p in steady}) > 1
        line = statistics.linear_regression([p[0] for p in steady], [p[column] for p in steady]) if fits else None
        slopes[f"{name}_bytes_per_1000_blocks"] = 1e3 * line.slope if line else 0.0
    return {**slopes, "uss_first": points[0][1], "uss_last": points[-1][1], "uss_max": max(p[1] for p in points)}


if __name__ == "__main__":
    main()
