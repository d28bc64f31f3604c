"""What a worker asks of its node, and what the cluster has."""

from __future__ import annotations

import sys
from typing import Any

import ray

from raydc.config.schema import EngineConfig


def wanted(engine: EngineConfig) -> dict[str, float]:
    """A worker's share in Ray's names of resources; no GPU is not asked for."""
    return {"CPU": engine.cpus_per_worker, **({"GPU": engine.gpus_per_worker} if engine.gpus_per_worker else {})}


def options(engine: EngineConfig) -> dict[str, Any]:
    """The same as the options of a task or an actor."""
    return {"num_cpus": engine.cpus_per_worker, "num_gpus": engine.gpus_per_worker}


def lacking(engine: EngineConfig) -> str | None:
    """What a worker asks for and no node offers at this time, in words; None if it can start at once."""
    for node in ray.nodes():
        if node["Alive"] and all(node["Resources"].get(name, 0) >= count for name, count in wanted(engine).items()):
            return None
    return (
        f"a worker asks for {engine.cpus_per_worker:g} CPUs and {engine.gpus_per_worker:g} GPUs, and no node of the "
        "cluster has them"
    )


def room(engine: EngineConfig) -> int:
    """How many workers the cluster has room for now, one at least: a group starts whole or waits for ever."""
    there = ray.cluster_resources()
    fits = (int(there.get(name, 0) / count) for name, count in wanted(engine).items() if count)
    return max(1, min(fits, default=sys.maxsize))
