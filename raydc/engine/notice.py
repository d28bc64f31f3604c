"""The watcher of a spot machine: asks its cloud whether the machine must leave, and drains its Ray node if so.

Ray itself never asks. Start it beside Ray on every spot machine, in the background, for it works until a notice comes::

    ray start --address=$RAY_HEAD_IP:6379
    nohup python -m raydc.engine.notice >> /tmp/notice.log 2>&1 &

It finds out by itself whether it is on AWS or on Google's cloud. A drained node takes no new work, and the driver lets
its workers hand their blocks back: each becomes a checkpoint from which another worker goes on. Kubernetes needs no
watcher: it sends SIGTERM to ``ray start --block``, which drains by itself.

Exit codes: 0 when the node has been drained; 0 as well, with a line that says so, on a machine without a metadata
server, so that one start script serves all machines; 2 for a wrong argument; 4 when Ray could not be told. In a
container on AWS the metadata server is one hop further away: allow it 2 (``HttpPutResponseHopLimit``).
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from raydc.engine.metadata import AWS_SECONDS, POLL_SECONDS, SILENT, Aws, Gce, Notice, detect
from raydc.errors import ClusterError

MARGIN_SECONDS = 5.0
"""How much earlier than the cloud's own deadline the node counts as gone."""

log = logging.getLogger("raydc.notice")


def await_notice(cloud: Aws | Gce, sleep: Callable[[float], None] = time.sleep) -> Notice:
    """Ask until there is a notice. A server that does not answer for a while is asked again."""
    silent = False
    while True:
        try:
            found = cloud.notice()
        except SILENT as error:
            if not silent:
                log.warning("the metadata server does not answer (%s); asking on", error)
            silent, found = True, None
        else:
            silent = False
        if found is not None:
            return found
        sleep(POLL_SECONDS)


@contextmanager
def _answering(address: str) -> Iterator[None]:
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        raise ClusterError(f"no Ray cluster at {address}: {error}") from None


def find_cluster(address: str | None = None) -> str:
    """The address of the cluster: as given, or of RAY_ADDRESS, or what ``ray start`` has noted on this machine.

    Raises:
        ClusterError: there is none, or it is not of the form HOST:PORT.
    """
    from ray._private.utils import read_ray_address

    found = address or os.environ.get("RAY_ADDRESS") or "auto"
    found = (read_ray_address() or "") if found == "auto" else found
    host, _, port = found.rpartition(":")
    if not host or not port.isdecimal() or "://" in found:
        raise ClusterError(f"the cluster's address is '{found}'; give --address HOST:PORT")
    return found


def nodes_here(address: str, ip: str | None = None) -> list[str]:
    """Ids of the cluster's worker nodes on this machine: those with its IP address. The head is not one of them.

    Args:
        address: of the cluster.
        ip: this machine's address, if not the one that it speaks to the cluster from.

    Raises:
        ClusterError: the cluster does not answer.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]

    with _answering(address):
        nodes = GcsClient(address=address).get_all_node_info()
    mine = ip or _own_ip(address)
    alive = [(node, info) for node, info in nodes.items() if info.state == GcsNodeInfo.ALIVE]
    return [node.hex() for node, info in alive if not info.is_head_node and info.node_manager_address == mine]


def _own_ip(address: str) -> str:
    """The address that this machine speaks to the cluster from; no packet is sent."""
    host, _, port = address.rpartition(":")
    family, kind, protocol, _, target = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(target)
        return str(probe.getsockname()[0])


def drain(address: str, node: str, notice: Notice) -> None:
    """Tell the cluster that a node is about to leave.

    Raises:
        ClusterError: it does not answer, or it refuses.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION  # type: ignore[attr-defined]

    end = 0 if notice.deadline is None else int((notice.deadline - MARGIN_SECONDS) * 1e3)  # in ms; 0: not known
    with _answering(address):
        client = GcsClient(address=address)
        accepted, why = client.drain_node(node, DRAIN_NODE_REASON_PREEMPTION, notice.text, end)
    if not accepted:
        raise ClusterError(f"Ray refuses to drain node {node}: {why}")


def leave(notice: Notice, address: str | None, ip: str | None, sleep: Callable[[float], None] = time.sleep) -> None:
    """Drain this machine's nodes; tries until the machine is gone.

    Raises:
        ClusterError: there was no node to drain, or the cluster did not answer.
    """
    end = notice.deadline or time.time() + AWS_SECONDS
    while True:
        try:
            found = find_cluster(address)
            nodes = nodes_here(found, ip)
            if not nodes:
                raise ClusterError(f"no worker node of the cluster at {found} lives on this machine")
            for node in nodes:
                drain(found, node, notice)
                log.info("node %s is drained", node)
            return
        except (ClusterError, OSError) as error:
            if time.time() + POLL_SECONDS > end:
                raise ClusterError(str(error)) from None
            log.warning("%s; trying again", error)
        sleep(POLL_SECONDS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch until a notice comes, then drain; the exit code."""
    parser = argparse.ArgumentParser("python -m raydc.engine.notice", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--address", help="the cluster, HOST:PORT; else RAY_ADDRESS, else what `ray start` has noted")
    parser.add_argument("--node-ip", help="this machine's address, if `ray start` was given one")
    parser.add_argument("--rebalance", action="store_true", help="AWS: leave already when an interruption is likely")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    cloud = detect(options.rebalance)
    if cloud is None:
        log.info("no metadata server of AWS or GCE answers: nobody would announce anything here, nothing to watch")
        return 0
    try:
        address = find_cluster(options.address)
        nodes = nodes_here(address, options.node_ip)
        log.info("watching %s for a notice to %s", cloud.name, ", ".join(nodes) or "Ray, which has no node here yet")
    except (ClusterError, OSError) as error:  # said on the first day, not on the last; Ray may be about to start
        log.warning("watching %s for a notice, but as things are nothing could be drained: %s", cloud.name, error)
    notice = await_notice(cloud)
    log.warning("%s", notice.text)
    try:
        leave(notice, options.address, options.node_ip)
    except ClusterError as error:
        log.error("the node could not be drained: %s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
