"""Ray itself: joining or starting a cluster, and what it knows of its machines; the one place for its private API."""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from raydc.errors import ClusterError

OBJECT_STORE_BYTES = 256 * 2**20
"""Object store of a local cluster. Blocks pass receipts, not pixels; only indexes of real data live there."""

ANSWER_SECONDS = 10.0
"""How long an address may take to answer; Ray itself would wait for minutes."""


@contextmanager
def cluster() -> Iterator[None]:
    """Join the cluster named by RAY_ADDRESS, or one already joined, or start one in this process; leave what was found.

    Raises:
        ClusterError: the address does not answer.
    """
    if ray.is_initialized():
        yield
        return
    _quiet()
    address = os.environ.get("RAY_ADDRESS")
    try:
        with _muted():
            if address:
                _listening(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            else:
                _start_local()
    except Exception as error:  # Ray raises a plain one where a machine is too busy to start it within 30 s
        advice = ". Check RAY_ADDRESS and RAY_AUTH_MODE, or unset RAY_ADDRESS to start Ray on this machine"
        raise ClusterError(f"no Ray cluster at {address or 'local'}: {error}{advice if address else ''}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _listening(address: str) -> None:
    """Try an address of the form HOST:PORT; other forms are Ray's to judge."""
    if address.startswith("ray://"):
        raise ValueError("raydc does not run through Ray Client; start it on the cluster with `ray job submit`")
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()


def _start_local() -> None:
    # A short folder: Unix socket paths over 107 bytes are refused by Ray.
    temp = os.environ.get("RAY_TMPDIR") or str(Path(tempfile.gettempdir()) / f"raydc-{os.getuid()}")
    # Ray makes its workers nicer than all else on the machine, and a step on several cores waits for the slowest: on
    # two of them, beside one busy process, ResNet-18 took 2.9 s a step at Ray's 15 and 0.44 s at 0 (0.15 s alone).
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Whoever takes this machine away takes the driver too: no process need watch for a notice to Train's workers.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    # Two logical CPUs more than there are: coordination tasks (reading shard lists, packing) hardly compute, and Ray
    # Data deadlocks where actors hold every CPU.
    ray.init(
        address="local",
        num_cpus=(os.cpu_count() or 1) + 2,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=temp,
    )


def _quiet() -> None:
    """Keep Ray's own chatter out of the user's lines; errors still reach the driver as exceptions."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    # Its C++ part writes to the standard error past all loggers, for instance of every actor of Ray Data.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@contextmanager
def _muted() -> Iterator[None]:
    """Silence the standard error itself while Ray starts: its C++ part says there that it was told to be quiet."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def draining_nodes() -> set[str]:
    """Ids of nodes that have been told to leave (spot notice, SIGTERM)."""
    return set(ray._private.state.state.get_draining_nodes())


def alive_nodes() -> set[str]:
    """Ids of the nodes that Ray holds for alive, those that are leaving included. Costs half a millisecond."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def home(actor: Any) -> str:
    """The id of the node that an actor was put on, be it dead or alive; empty if it never came to one."""
    return str(ray._private.state.state.actor_table(actor._actor_id.hex()).get("Address", {}).get("NodeID", ""))
