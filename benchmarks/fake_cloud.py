"""A cloud inside this machine: a Ray head whose autoscaler, Ray's own, starts and ends worker nodes as processes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray

HEAD = "f" * 51 + "00000"
"""The id that Ray's fake provider knows its head by."""
STORE_BYTES = 80 * 2**20
START_SECONDS = 300.0
EMPTY_LISTS = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter"),
)
"""What every cluster's YAML must have, though there is nothing to set up here."""


@contextmanager
def fake_cloud(
    nodes: int, resources: dict[str, float], labels: dict[str, str] | None = None, idle_seconds: float = 6.0
) -> Iterator[dict[str, str]]:
    """Start a head without resources that starts nodes on demand; leave no process and no file behind.

    Args:
        nodes: worker nodes at most; at first there is none.
        resources: of a worker node, in Ray's names.
        labels: of a worker node.
        idle_seconds: how long a node idles before it is ended.

    Yields:
        What a driver needs in its environment from its start: Ray reads some of it only then.
    """
    # A short folder: Unix socket paths over 107 bytes are refused by Ray.
    folder = tempfile.mkdtemp(prefix="rc", dir="/tmp")
    address = f"{ray.util.get_node_ip_address()}:{_free_port()}"
    driver = {
        "RAY_ADDRESS": address,
        "RAY_TMPDIR": folder,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    config = Path(folder, "cloud.json")
    config.write_text(json.dumps(_config(address, nodes, resources, labels or {}, idle_seconds)))
    log = config.with_name("head.log")
    environment, command = _head(config, driver)
    try:
        with (
            log.open("w") as out,
            subprocess.Popen(
                command, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            ) as head,
        ):
            try:
                _await_start(head, log)
                yield driver
            finally:
                _end_all(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _head(config: Path, driver: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Environment and command of the head; every process that it starts inherits the former."""
    environment = {
        **os.environ,
        **driver,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_raylet_start_wait_time_s": str(int(START_SECONDS)),  # a busy machine takes long
    }
    port = environment.pop("RAY_ADDRESS").rpartition(":")[2]
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--autoscaling-config={config}",
        f"--port={port}", "--num-cpus=0", "--num-gpus=0", f"--object-store-memory={STORE_BYTES}",
        "--include-dashboard=false", "--disable-usage-stats",
    ]  # fmt: skip
    return environment, command


def _await_start(head: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while "Ray runtime started" not in log.read_text():
        if head.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the head did not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)


def _config(
    address: str, nodes: int, resources: dict[str, float], labels: dict[str, str], idle_seconds: float
) -> dict[str, Any]:
    """What a cluster's YAML says to its autoscaler."""
    provider = {
        "type": "external",  # not "fake_multinode": the wheel lacks the file of its defaults
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": address,
        "head_node_id": HEAD,
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "launch_multiple": True,
    }
    worker = {
        "resources": {**resources, "object_store_memory": STORE_BYTES},
        "labels": labels,
        "node_config": {},
        "min_workers": 0,
        "max_workers": nodes,
    }
    return {
        "cluster_name": "fake",
        "max_workers": nodes,
        "idle_timeout_minutes": idle_seconds / 60,
        "upscaling_speed": 1.0,
        "provider": provider,
        "head_node_type": "ray.head.default",  # the fake provider insists on this name
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": worker,
        },
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in EMPTY_LISTS},
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _end_all(folder: str) -> None:
    """End the head, and the workers that it leaves behind: all that was started with this folder for Ray."""
    for process in _processes(folder):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    end = time.monotonic() + 20
    while _processes(folder) and time.monotonic() < end:
        time.sleep(0.05)


def _processes(folder: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("RAY_TMPDIR") == folder:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
