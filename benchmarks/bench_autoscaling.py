"""Do nodes come when there is work and go when there is none, and what does the way there and back cost?

Gives the product's pool units that only last (nothing is computed), one worker a node, and watches the nodes that Ray's
own autoscaler starts and ends: from none to ``--nodes`` and back to none. Then again with nodes that are slower than
the others, without and with copies of their units on idle ones. Without RAY_ADDRESS the nodes are processes of this
machine; with it, nodes of that cluster, which must have none that could work when this starts.

    python benchmarks/bench_autoscaling.py --nodes 4 --units 60 --seconds 5 --stragglers 1
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from autoscaling_plot import draw
from common import RECORDS, write_record
from fake_cloud import fake_cloud

from raydc.config.stages.engine import EngineConfig
from raydc.engine.background import repeating
from raydc.engine.capacity import lacking, options, wanted
from raydc.engine.cluster import alive_nodes, cluster
from raydc.engine.pool import Pool

SAMPLE_SECONDS = 0.5
GONE_SECONDS = 1800.0
"""How long nodes may take to go; clouds wait for minutes before they end one."""
LATE_SECONDS = 5.0
"""How long there must be none: one that was asked for before the end may come after it."""


@dataclass(frozen=True)
class Wait:
    """A unit that lasts so many seconds."""

    id: str
    seconds: float


class Nodes:
    """An actor beside the driver that numbers nodes in the order in which their workers are ready."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def place(self, node: str) -> int:
        """The number of a node, from 0."""
        self.seen += [node] * (node not in self.seen)
        return self.seen.index(node)


class Sleeper:
    """A worker: it sleeps for as long as a unit lasts, and ``slowness`` times as long on the first ``slow`` nodes."""

    def __init__(self, nodes: Any, slow: int, slowness: float) -> None:
        self.node = str(ray.get_runtime_context().get_node_id())
        self.slowness = slowness if slow and ray.get(nodes.place.remote(self.node)) < slow else 1.0
        self.leaving, self.far = threading.Event(), 0.0

    def hello(self) -> str:
        """The id of its node."""
        return self.node

    def preempt(self) -> None:
        """Hand the unit back."""
        self.leaving.set()

    def progress(self) -> float:
        """The fraction of the unit that is over."""
        return self.far

    def run(self, unit: Wait) -> str | None:
        """Sleep, and look up ten times a second."""
        began, lasts = time.monotonic(), unit.seconds * self.slowness
        while (over := time.monotonic() - began) < lasts:
            self.far = over / lasts
            if self.leaving.wait(min(0.1, lasts - over)):
                return None
        return unit.id


class Watch:
    """Everything that happens, by seconds since the start."""

    def __init__(self, units: int) -> None:
        self.began, self.before = time.monotonic(), alive_nodes()
        self.left, self.busy = units, 0
        self.samples: list[dict[str, float]] = [{"t": 0.0, "nodes": 0, "busy": 0, "queue": units}]
        self.workers: list[tuple[float, int]] = [(0.0, 0)]
        self.done: list[float] = []
        self.counts = {"unit_copied": 0, "unit_outrun": 0, "unit_retried": 0}

    def now(self) -> float:
        """Seconds since the start."""
        return round(time.monotonic() - self.began, 3)

    def nodes(self) -> int:
        """Nodes that were not there at the start."""
        return len(alive_nodes() - self.before)

    def emit(self, kind: str, **said: Any) -> None:
        """Take an event of the pool."""
        if kind == "workers":
            self.busy = said["count"]
            self.workers.append((self.now(), self.busy))
        elif kind in self.counts:
            self.counts[kind] += 1

    def finished(self) -> None:
        """Take the end of a unit."""
        self.left -= 1
        self.done.append(self.now())

    def until_gone(self) -> float:
        """Wait until there are no nodes any more; since when."""
        gone, end = self.now(), self.now() + GONE_SECONDS
        while self.now() < gone + LATE_SECONDS:
            time.sleep(0.1)
            gone = self.now() if self.nodes() else gone
            if gone > end:
                sys.exit(f"{self.nodes()} nodes have not gone in {GONE_SECONDS:.0f} s")
        return gone

    def sample(self) -> None:
        """Take a sample."""
        self.samples.append({"t": self.now(), "nodes": self.nodes(), "busy": self.busy, "queue": self.left})


def main() -> None:
    """Measure, on the cluster of RAY_ADDRESS or on one of this machine's own; say where the record lies."""
    asked = arguments()
    engine = EngineConfig(**json.loads(asked.engine))
    if "RAY_ADDRESS" in os.environ:
        with cluster():
            record(asked, engine)
        return
    with fake_cloud(asked.nodes, wanted(engine), engine.labels, asked.idle) as driver:
        command = [sys.executable, *sys.argv, "--fake"]
        sys.exit(subprocess.run(command, env={**os.environ, **driver}, check=False).returncode)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, default=4, help="workers at most, each on a node of its own")
    parser.add_argument("--units", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=5.0, help="mean length of a unit; from a half to three halves")
    parser.add_argument("--stragglers", type=int, default=0, help="how many nodes are slow in two further runs")
    parser.add_argument("--slowness", type=float, default=5.0, help="how many times longer slow ones take")
    parser.add_argument("--idle", type=float, default=6.0, help="own nodes: seconds without work after which one goes")
    parser.add_argument("--engine", default="{}", help="what a worker asks for: JSON of a config's engine section")
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    parser.add_argument("--fake", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def record(asked: argparse.Namespace, engine: EngineConfig) -> None:
    """Run once, and with slow nodes twice more; write the record and its picture."""
    if lacking(engine) is None:
        sys.exit("the cluster has nodes that could work already: wait until its autoscaler has ended them")
    cases = [(0, True)] + [(asked.stragglers, copies) for copies in (False, True) if asked.stragglers]
    runs = [measure(asked, engine, slow, copies) for slow, copies in cases]
    own = "worker nodes are processes of this machine; upscaling speed 1, a look each second"
    found = {
        "simulated": "units only last: they sleep for the given time and compute nothing",
        "cluster": own if asked.fake else "the nodes of RAY_ADDRESS",
        "settings": {k: v for k, v in vars(asked).items() if k not in ("records", "fake")},
        "runs": runs,
    }
    what = "the pool on Ray's autoscaler: from no nodes to some and back"
    target = write_record("autoscaling", what, found, Path(asked.records))
    draw(runs, target.with_suffix(".png"))
    for run in runs:
        print(json.dumps({name: value for name, value in run.items() if name not in ("samples", "workers", "done")}))
    print(target)


def measure(asked: argparse.Namespace, engine: EngineConfig, slow: int, copies: bool) -> dict[str, Any]:
    """One way from no nodes to no nodes."""
    dice, mean = random.Random(0), asked.seconds
    units = [Wait(f"u{n}", dice.uniform(0.5, 1.5) * mean) for n in range(asked.units)]
    nodes = ray.remote(Nodes).options(num_cpus=0).remote()

    def make(avoid: frozenset[str]) -> Any:
        asks = {"max_restarts": 0, "max_concurrency": 2, **options(engine, avoid)}
        return ray.remote(Sleeper).options(**asks).remote(nodes, slow, asked.slowness)

    watch = Watch(len(units))
    pool: Pool[Wait] = Pool(make, asked.nodes, 3, lambda unit, receipt: watch.finished(), watch.emit, copies)
    with repeating(watch.sample, SAMPLE_SECONDS):
        failed = pool.run(units).failed
        watch.emit("workers", count=0)
        if failed:
            sys.exit(f"{len(failed)} units failed. First: {next(iter(failed.values()))}")
        gone = watch.until_gone()
    what = {"slow_nodes": slow, "slowness": asked.slowness if slow else 1.0, "copies": copies}
    return {**what, **summary(watch, sum(unit.seconds for unit in units), gone)}


def summary(watch: Watch, ideal: float, gone: float) -> dict[str, Any]:
    """The numbers of a run; times in seconds since its start."""
    last, samples = watch.done[-1], watch.samples
    peak = int(max(s["nodes"] for s in samples))
    steps = [(s["t"], s["nodes"]) for s in samples]
    node_s, working_s = area(steps), area([(t, n) for t, n in steps if t < last] + [(last, 0)])
    busy_s = area(watch.workers)
    # Workers are idle from the first time on that one ends a unit and there is none that nobody has begun.
    at_work = max(count for _, count in watch.workers)
    idle_from = watch.done[max(0, len(watch.done) - at_work)]
    return {
        "first_node_s": next(t for t, nodes in steps if nodes),
        "all_nodes_s": next(t for t, nodes in steps if nodes == peak),
        "peak_nodes": peak,
        "first_unit_s": watch.done[0],
        "last_unit_s": last,
        "no_nodes_s": gone,
        "release_s": round(gone - last, 2),
        "tail_s": round(last - idle_from, 2),
        "ideal_s": round(ideal, 2),
        "busy_s": round(busy_s, 2),
        "node_s": round(node_s, 2),
        "node_s_per_ideal": round(node_s / ideal, 3),
        "utilisation": round(busy_s / node_s, 3),
        "utilisation_until_last_unit": round(busy_s / working_s, 3),
        **watch.counts,
        "samples": samples,
        "workers": watch.workers,
        "done": watch.done,
    }


def area(steps: list[tuple[float, float]]) -> float:
    """The sum below a curve that keeps its value until the next point."""
    return sum(value * (then - t) for (t, value), (then, _) in zip(steps, steps[1:], strict=False))


if __name__ == "__main__":
    main()
