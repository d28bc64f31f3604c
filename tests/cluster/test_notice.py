"""A machine that is told to leave hands its block back, and another goes on from there with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .chaos import NODE, SEAT, Campaign, Machines, wait
from .cloud import Metadata, metadata_server
from .conftest import NO_LABELS, Undisturbed

# Ray's own: it leaves files and sockets of its processes to the collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.timeout(600)]


@contextmanager
def started(command: list[str], log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, of which nothing is left."""
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **variables}, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


@contextmanager
def pod(cluster: Machines, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A node as Kubernetes starts it, ``ray start --block``, and its address."""
    ip = cluster.free_ip()
    options = [f"--address={cluster.address}", f"--node-ip-address={ip}", f"--num-cpus={SEAT}"]
    store = f"--object-store-memory={NODE['object_store_memory']}"
    command = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats", store, *options]
    with started(command, log, RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="20") as process:
        wait(lambda: ip in cluster.alive(), 60, "the pod to join")
        yield process, ip


@contextmanager
def watcher(cluster: Machines, node: str, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], Metadata]]:
    """The watcher of a node, and the cloud that it asks."""
    often = "import sys; from raydc.engine import notice; notice.POLL_SECONDS = 0.1; sys.exit(notice.main())"
    command = [sys.executable, "-c", often, "--node-ip", cluster.nodes[node].node_ip_address]
    address = {"RAY_ADDRESS": cluster.address}
    with metadata_server("aws") as cloud, started(command, log, **address, **cloud.variables) as process:
        wait(lambda: f"watching AWS for a notice to {node}" in log.read_text(), 60, "the watcher")
        yield process, cloud


def test_a_notice_and_a_sigterm_hand_blocks_back(
    undisturbed: Undisturbed, start: Callable[..., Campaign], cluster: Machines, tmp_path: Path
) -> None:
    config = undisturbed.without(tmp_path, "blocks", "datasets", "work", changes=NO_LABELS)
    cluster.fill(2)
    spot = next(iter(cluster.nodes))
    logs = tmp_path / "pod.log", tmp_path / "watcher.log"
    with pod(cluster, logs[0]) as (kubernetes, ip), watcher(cluster, spot, logs[1]) as (watching, cloud):
        nodes = {spot, cluster.alive()[ip]}
        run = start(config, 2)
        run.until(lambda: len(run.in_flight()) == 3, "a checkpoint of each of three blocks")
        cloud.notice = {"action": "terminate", "time": "2030-01-02T03:04:05Z"}
        run.strike(kubernetes.terminate, hits=0)
        run.until(lambda: {e["node"] for e in run.events("unit_handed_back")} == nodes, "both blocks handed back")
        run.until(lambda: watching.poll() is not None and kubernetes.poll() is not None, "both nodes gone")
        assert watching.returncode == 0, logs[1].read_text()
        run.finish()
    run.check("synthesize")
    assert run.events("unit_retried") == []
    for block in {e["unit"].removeprefix("condensed/") for e in run.events("unit_handed_back")}:
        marker = run.markers()[block]
        assert marker["meta"]["node"] not in nodes
        assert marker["meta"]["image_steps"] < run.steps * len(marker["entries"]), f"{block} was begun again"
    undisturbed.same(run.run)
