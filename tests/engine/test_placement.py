"""Workers come to the nodes that the config names, on the share of them that it names."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from raydc.config.stages.engine import EngineConfig
from raydc.engine.capacity import for_data, for_train, lacking, options, room
from raydc.engine.cluster import alive_nodes, draining_nodes
from tests.tiny import gone, ray_folder, wait_until

# Ray Data and Ray Train warn of parts of themselves.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}")
    for kind in ("DeprecationWarning", "ResourceWarning", "ray.util.annotations.RayDeprecationWarning")
]
STORE = 80 * 2**20


@dataclass(frozen=True)
class Place:
    """A cluster of two nodes: ``plain`` has two CPUs; ``spot`` has one, two GPUs, an A100's mark and a label."""

    cluster: Any
    plain: str
    spot: str

    def add(self, **of: Any) -> Any:
        return self.cluster.add_node(object_store_memory=STORE, **of)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with ray_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # workers import what this file gives them
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        patch.delenv("RAY_ADDRESS", raising=False)
        head = {"num_cpus": 2, "object_store_memory": STORE, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            marks = {"accelerator_type:A100": 1}
            spot = cluster.add_node(
                num_cpus=1, num_gpus=2, resources=marks, labels={"market": "spot"}, object_store_memory=STORE
            )
            ray.init(address=cluster.address, log_to_driver=False)
            yield Place(cluster, cluster.head_node.node_id, spot.node_id)
        finally:
            ray.shutdown()
            cluster.shutdown()
            gone(folder)


@ray.remote
class Worker:
    def where(self) -> tuple[str, str]:
        return ray.get_runtime_context().get_node_id(), os.environ.get("CUDA_VISIBLE_DEVICES", "")


def landed(engine: EngineConfig, avoid: frozenset[str] = frozenset(), seconds: float = 30) -> str | None:
    """The node that a worker comes to; None if it still waits for one."""
    actor = Worker.options(**options(engine, avoid)).remote()
    try:
        ready, _ = ray.wait([actor.where.remote()], timeout=seconds)
        return ray.get(ready[0])[0] if ready else None
    finally:
        ray.kill(actor)


def test_without_wishes_a_worker_asks_for_nothing_special() -> None:
    assert options(EngineConfig()) == {"num_cpus": 1, "num_gpus": 0}
    assert for_data(EngineConfig()) == {"num_cpus": 1, "num_gpus": None}
    assert for_train(EngineConfig()) == {
        "use_gpu": False, "resources_per_worker": {"CPU": 1}, "label_selector": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wish", "seats", "where"),
    [
        ({"cpus_per_worker": 2}, 1, "plain"),
        ({"gpus_per_worker": 1, "cpus_per_worker": 0}, 2, "spot"),
        ({"gpus_per_worker": 0.6, "cpus_per_worker": 0}, 2, "spot"),  # no worker lies on two halves of GPUs
        ({"gpus_per_worker": 0.25, "cpus_per_worker": 0.1}, 8, "spot"),
        ({"resources": {"accelerator_type:A100": 0.001}, "cpus_per_worker": 0.5}, 2, "spot"),
        ({"resources": {"memory": 1e8}, "labels": {"market": "spot"}}, 1, "spot"),
        ({"labels": {"market": "spot"}}, 1, "spot"),
        ({"labels": {"market": "!spot"}}, 2, "plain"),
        ({"labels": {"market": "in(cheap, spot)"}, "cpus_per_worker": 0.1}, 10, "spot"),
        ({"labels": {"market": "!in(cheap,spot)"}, "cpus_per_worker": 0.1}, 20, "plain"),
    ],
)
def test_a_worker_comes_to_the_nodes_it_may_use(place: Place, wish: dict[str, Any], seats: int, where: str) -> None:
    engine = EngineConfig(**wish)
    assert lacking(engine) is None
    assert room(engine) == seats
    assert landed(engine) == getattr(place, where)


def test_two_halves_share_a_gpu_and_a_whole_one_is_ones_own(place: Place) -> None:
    halves = [Worker.options(**options(EngineConfig(gpus_per_worker=0.5, cpus_per_worker=0))).remote() for _ in "ab"]
    whole = Worker.options(**options(EngineConfig(gpus_per_worker=1, cpus_per_worker=0))).remote()
    seen = ray.get([actor.where.remote() for actor in [*halves, whole]])
    assert seen[0] == seen[1]
    assert {devices for _, devices in seen} == {"0", "1"}
    for actor in [*halves, whole]:
        ray.kill(actor)


def test_nodes_to_avoid_are_avoided(place: Place) -> None:
    anywhere, spot = EngineConfig(), EngineConfig(labels={"market": "spot"})
    assert landed(anywhere, frozenset({place.plain})) == place.spot
    assert landed(anywhere, frozenset({place.spot})) == place.plain
    assert landed(anywhere, frozenset({place.spot, place.plain}), seconds=2) is None
    assert landed(spot, frozenset({place.spot}), seconds=2) is None


def test_what_no_node_offers_is_said_beside_what_they_offer(place: Place) -> None:
    said = str(lacking(EngineConfig(gpus_per_worker=1, resources={"accelerator_type:H100": 0.001})))
    assert "asks for 1 CPUs and 1 GPUs and 0.001 accelerator_type:H100, and no node offers that" in said
    assert "1 node with 2 CPUs" in said
    assert "1 node with 1 CPUs and 2 GPUs and 1 accelerator_type:A100 labelled market=spot" in said
    said = str(lacking(EngineConfig(cpus_per_worker=2, labels={"market": "spot"})))
    assert "asks for 2 CPUs on a node labelled market=spot, and no node" in said
    assert room(EngineConfig(cpus_per_worker=2, labels={"market": "spot"})) == 1


def test_ray_data_labels_on_those_nodes(place: Place) -> None:
    class Labeler:
        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return {"node": [ray.get_runtime_context().get_node_id()] * len(batch["item"])}

    ray.data.DataContext.get_current().enable_progress_bars = False
    engine = EngineConfig(cpus_per_worker=0.5, gpus_per_worker=0.5, labels={"market": "spot"})
    compute = ray.data.ActorPoolStrategy(size=2)
    rows = ray.data.from_items(range(4)).map_batches(Labeler, batch_size=1, compute=compute, **for_data(engine))
    assert {row["node"] for row in rows.take_all()} == {place.spot}


def test_ray_train_trains_on_those_nodes(place: Place, tmp_path: Path) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    said = tmp_path / "nodes"
    said.mkdir()

    def loop() -> None:
        (said / ray.get_runtime_context().get_node_id()).touch()

    engine = EngineConfig(cpus_per_worker=0.5, resources={"accelerator_type:A100": 0.1}, labels={"market": "spot"})
    scaling = ScalingConfig(num_workers=2, **for_train(engine))
    DataParallelTrainer(loop, scaling_config=scaling, run_config=RunConfig(storage_path=str(tmp_path))).fit()
    assert [path.name for path in said.iterdir()] == [place.spot]


def test_a_node_that_is_leaving_lives_but_offers_nothing(place: Place) -> None:
    from ray._raylet import GcsClient
    from ray.core.generated import autoscaler_pb2

    engine = EngineConfig(resources={"disk": 1}, cpus_per_worker=0)
    node = place.add(num_cpus=0, resources={"disk": 2})
    wait_until(lambda: node.node_id in alive_nodes(), 20, "the node to come")
    assert lacking(engine) is None
    actor = Worker.options(**options(engine)).remote()  # without it the node would leave at once
    assert ray.get(actor.where.remote())[0] == node.node_id
    reason, deadline = autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION, int((time.time() + 60) * 1000)
    GcsClient(address=place.cluster.address).drain_node(node.node_id, reason, "a notice", deadline)
    wait_until(lambda: node.node_id in draining_nodes(), 20, "the notice to be known")
    assert node.node_id in alive_nodes()
    assert "no node offers that" in str(lacking(engine))
    ray.kill(actor)
    wait_until(lambda: node.node_id not in alive_nodes(), 30, "the node to leave")
    place.cluster.remove_node(node)
