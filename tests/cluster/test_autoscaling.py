"""On Ray's own autoscaler nodes come when there is work, and go when there is none for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from benchmarks.fake_cloud import fake_cloud
from raydc.config.stages.engine import EngineConfig
from raydc.engine.capacity import lacking, options
from raydc.engine.cluster import alive_nodes, cluster
from raydc.engine.pool import Pool
from tests.engine.actors import Unit
from tests.tiny import processes, wait_until

ROOT = Path(__file__).parents[2]
PATIENCE = 200.0
"""Seconds for a node to come or to go: each is a process that a busy machine takes long to start."""


class Waiting:
    """A worker whose units end when so many workers have begun one, or when a file is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def hello(self) -> str:
        return ray.get_runtime_context().get_node_id()

    def preempt(self) -> None:
        """Nobody is told to leave here."""

    def progress(self) -> float:
        return 0.5

    def run(self, unit: Unit) -> str:
        (self.folder / f"worker-{self.hello()}").touch()
        end = time.monotonic() + PATIENCE
        while len(list(self.folder.glob(unit.does))) < unit.times and time.monotonic() < end:
            time.sleep(0.05)
        return self.hello()


def drive(folder: Path) -> None:
    """The driver, in a process of its own: three workers for a cloud of two nodes."""
    engine = EngineConfig(labels={"market": "spot"})
    units = [*[Unit(f"u{n}", "worker-*", times=2) for n in range(6)], Unit("last", "alone", times=1)]
    did: dict[str, str] = {}
    with cluster():
        before = alive_nodes()
        found = {"at first": lacking(engine)}

        def count() -> int:
            return len(alive_nodes() - before)

        def watch() -> None:
            wait_until(lambda: len(did) == 6 and count() == 1, 2 * PATIENCE, "the idle node to go while one works")
            (folder / "alone").touch()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        actor = ray.remote(Waiting)
        pool: Pool[Unit] = Pool(
            lambda avoid: actor.options(**options(engine, avoid)).remote(folder),
            size=3, max_attempts=1, on_done=lambda unit, node: did.update({unit.id: node}), emit=lambda *a, **b: None,
        )  # fmt: skip
        failed = [str(error) for error in pool.run(units).failed.values()]
        watcher.join()
        wait_until(lambda: count() == 0, PATIENCE, "the last node to go while its driver lives")
    print(json.dumps({**found, "did": did, "failed": failed, "alone": (folder / "alone").exists()}))


@pytest.mark.timeout(900)
def test_nodes_come_for_the_pool_and_go_when_they_idle(tmp_path: Path) -> None:
    with fake_cloud(2, {"CPU": 1}, {"market": "spot"}, idle_seconds=2) as driver:
        program = "import sys, pathlib, tests.cluster.test_autoscaling as t; t.drive(pathlib.Path(sys.argv[1]))"
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=ROOT, env={**os.environ, **driver, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert processes(driver["RAY_TMPDIR"]) == []
    assert not Path(driver["RAY_TMPDIR"]).exists()
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert "no node offers that: the cluster has 1 node with 0 CPUs" in found["at first"]
    assert found["failed"] == [] and found["did"].keys() == {*[f"u{n}" for n in range(6)], "last"}
    assert len(set(found["did"].values())) == 2, "both nodes worked"
    assert found["alone"], "the idle node left before the last unit was done"
