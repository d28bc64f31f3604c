"""A cluster of several machines on this one, and the means to do it harm."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import safetensors.numpy
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.gcs_pb2 import GcsNodeInfo

from raydc.report.units import iso
from tests import tiny
from tests.tiny import Command

HEALTH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
"""The head notices within two seconds that a node is gone."""
NODE = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
SEAT = 2
"""CPUs that a worker asks for: what a node has. The head has fewer, so that no worker of ours lives on it."""


class Machines:
    """The cluster's nodes, each with an IP address of its own, as machines have."""

    def __init__(self, cluster: Cluster, folder: str) -> None:
        self.cluster, self.folder = cluster, folder
        self.nodes: dict[str, Any] = {}
        """The worker nodes that were added and not yet lost, by their ids."""
        self.added = 0
        self.gcs = GcsClient(address=cluster.address)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, count: int) -> None:
        for _ in range(count):
            node = self.cluster.add_node(num_cpus=SEAT, node_ip_address=self.free_ip(), **NODE)
            self.nodes[node.node_id] = node

    def free_ip(self) -> str:
        """An address of this machine that no node has had."""
        self.added += 1
        return f"127.0.1.{self.added}"

    def lose(self, *nodes: str) -> None:
        """Let nodes die without notice; their workers may live on for seconds, as behind a broken network."""
        for node in nodes:
            self.cluster.remove_node(self.nodes.pop(node), allow_graceful=False)

    def fill(self, count: int) -> None:
        """As many worker nodes as that, all idle: what the autoscaler would do."""
        gone = [n for n in self.nodes if self.nodes[n].dead_processes()]  # drained, it leaves by itself
        self.lose(*gone, *[n for n in self.nodes if n not in gone][count:])
        self.add(count - len(self.nodes))
        wait(lambda: not self.workers(), 60, "workers of an earlier run to end")

    def alive(self) -> dict[str, str]:
        """The addresses of living nodes, and their ids; of those, too, that were not added here."""
        found = self.gcs.get_all_node_info().items()
        return {info.node_manager_address: node.hex() for node, info in found if info.state == GcsNodeInfo.ALIVE}

    def raylet(self, node: str) -> psutil.Process:
        return psutil.Process(self.nodes[node].all_processes["raylet"][0].process.pid)

    def workers(self, title: str = "", *nodes: str) -> list[psutil.Process]:
        """The processes of actors and tasks on these nodes (on all), by what Ray calls them; the oldest first."""
        found = []
        for process in (p for n in nodes or self.nodes for p in self.raylet(n).children()):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                name = (process.cmdline() or [""])[0]
                if name.startswith("ray::") and title in name and not name.startswith(IDLE):
                    found.append(process)
        return sorted(found, key=lambda p: p.create_time())

    def homes(self, title: str) -> list[str]:
        """The nodes where actors of this name live, that of the oldest actor first."""
        nodes = {self.raylet(n).pid: n for n in self.nodes}
        return list(dict.fromkeys(nodes[p.ppid()] for p in self.workers(title)))


IDLE = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Processes of a node that hold no work."""


def wait(true: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait for something at which to look costs too much to do it all the time."""
    tiny.wait_until(lambda: true() or time.sleep(0.05), seconds, what)


@contextmanager
def machines(count: int) -> Iterator[Machines]:
    """A head without seats and some worker nodes."""
    with tiny.ray_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        head = {**NODE, "num_cpus": SEAT - 1, "_system_config": HEALTH}
        found = Machines(Cluster(initialize_head=True, head_node_args=head), folder)
        try:
            found.add(count)
            yield found
        finally:
            found.cluster.shutdown()
            try:
                tiny.gone(folder)
            finally:
                for process in tiny.processes(folder):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()


class Campaign:
    """A run on a cluster: its driver, which may be killed and started again, and what its files and events say."""

    def __init__(self, config: Path, machines: Machines) -> None:
        self.config, self.run, self.machines = config, config.parent / "run", machines
        self.steps = tiny.yaml.safe_load(config.read_text())["synthesize"]["steps"]
        self.faults: list[Fault] = []
        self.command = self._start()

    def _start(self) -> Command:
        folder = tempfile.mkdtemp(dir=self.config.parent)
        return Command("run", self.config, ray=folder, cwd=self.config.parent, address=self.machines.address)

    def until(self, true: Callable[[], Any], what: str, seconds: float = 240) -> None:
        """Wait for something that the run does; looking at it costs too much to do it all the time."""
        wait(lambda: true() or self.command.process.poll() is not None, seconds, what)
        assert self.command.process.poll() is None, f"the run ended before {what}: {self.command.said()}"

    def strike(self, harm: Callable[[], Any], hits: int) -> None:
        """Do harm to the run that hits so many units in flight at most."""
        kept = tiny.stamps(*(p for pattern in COMMITTED for p in self.files(pattern)))
        self.faults.append(Fault(time.time(), hits, kept, self.in_flight()))
        harm()

    def resubmit(self, hits: int) -> None:
        """Kill the driver and start the same command again."""
        self.strike(lambda: os.killpg(self.command.process.pid, signal.SIGKILL), hits)
        assert self.command.process.wait(20) == -signal.SIGKILL
        self.command = self._start()

    def finish(self, code: int = 0) -> str:
        """Wait for the end; what was said."""
        assert self.command.result(400) == code, self.command.said()
        return self.command.said()

    def end(self) -> None:
        """Leave no driver behind where a test has failed."""
        if self.command.process.poll() is None:
            os.killpg(self.command.process.pid, signal.SIGKILL)
            self.command.process.wait(20)

    def check(self, stage: str) -> None:
        """Every fault struck in the middle of this stage, and no more was done again than it had hit."""
        began = min(e["t"] for e in self.events("stage_started") if e["stage"] == stage)
        ended = max(e["t"] for e in self.events("stage_done") if e["stage"] == stage)
        assert all(began < iso(fault.time) < ended for fault in self.faults)
        # A worker whose node is gone may live for seconds and commit what another has committed meanwhile.
        hits = sum(fault.hits for fault in self.faults)
        for fault in self.faults:
            again = {f for f, stamp in fault.kept.items() if tiny.stamps(Path(f))[f] != stamp}
            assert len({Path(f).stem[:15] for f in again}) <= hits, again
        done = [e["unit"] for e in self.events("unit_done") if e["stage"] == stage]
        assert len(done) == len(set(done))

    def files(self, pattern: str) -> list[Path]:
        return [p for p in self.run.glob(pattern) if not p.name.startswith(".")]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return tiny.events(self.run, kind)

    def since(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind after the last fault."""
        return [e for e in self.events(kind) if e["t"] > iso(self.faults[-1].time)]

    def made_since(self, pattern: str) -> list[Path]:
        """Receipts of units that a worker on a living node has begun and finished since the last fault."""
        found = []
        for path in self.files(pattern):
            meta = json.loads(path.read_text())["meta"]
            if meta["began"] > self.faults[-1].time and meta["node"] in self.machines.nodes:
                found.append(path)
        return found

    def markers(self) -> dict[str, Any]:
        """The markers of the product's blocks."""
        return {p.stem: json.loads(p.read_text()) for p in self.files("blocks/condensed/*.json")}

    def in_flight(self) -> dict[str, int]:
        """The blocks that have a checkpoint and no marker, and the step of the checkpoint."""
        found = {}
        for path in self.files("work/checkpoints/condensed/*.safetensors"):
            with suppress(FileNotFoundError):
                if not (self.run / f"blocks/condensed/{path.stem}.json").exists():
                    found[path.stem] = int(safetensors.numpy.load(path.read_bytes())["done"])
        return found

    def resumed(self) -> list[str]:
        """The blocks that a worker took up where a checkpoint was; none may have been begun before that checkpoint."""
        found = []
        for block, marker in self.markers().items():
            meta, images = marker["meta"], len(marker["entries"])
            seen = [f.in_flight[block] for f in self.faults if block in f.in_flight and f.time < meta["began"]]
            assert meta["image_steps"] <= (self.steps - max(seen, default=0)) * images, (block, meta, seen)
            found += [block] * bool(seen)
        return found


COMMITTED = ("blocks/*/*.json", "work/relabel/*/*.json", "students/*.json")
"""What is there once a unit is done."""


@dataclass(frozen=True)
class Fault:
    """What a fault found when it struck."""

    time: float
    hits: int
    kept: dict[str, int]
    in_flight: dict[str, int]
