"""What a worker asks of its node, in the forms that the parts of Ray want it, and what the cluster has."""

from __future__ import annotations

import collections
import sys
from collections.abc import Mapping
from typing import Any

import ray

from raydc.config.stages.engine import EngineConfig
from raydc.engine.cluster import draining_nodes

NODE_ID = "ray.io/node-id"
"""The label that Ray itself gives every node."""
UNITS = {"CPU": "CPUs", "GPU": "GPUs"}
"""How resources are called in words; others by their name."""
KINDS = 4
"""Kinds of nodes that a message names at most."""


def wanted(engine: EngineConfig) -> dict[str, float]:
    """A worker's share in Ray's names of resources; no GPU is not asked for."""
    gpus = {"GPU": engine.gpus_per_worker} if engine.gpus_per_worker else {}
    return {"CPU": engine.cpus_per_worker, **gpus, **engine.resources}


def selector(engine: EngineConfig, avoid: frozenset[str] = frozenset()) -> dict[str, str]:
    """Which nodes may be used, as a label selector of Ray; empty for all. ``avoid`` holds ids of nodes."""
    others = {NODE_ID: f"!in({','.join(sorted(avoid))})"} if avoid else {}
    # Without blanks: Ray takes "in(a, b)" for valid and then finds no node for it. Who names nodes by their ids in the
    # config has the last word.
    return {**others, **{label: rule.replace(" ", "") for label, rule in engine.labels.items()}}


def options(engine: EngineConfig, avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Options of a task or an actor that is to run as a worker, on none of the nodes to avoid."""
    return {"num_cpus": engine.cpus_per_worker, "num_gpus": engine.gpus_per_worker, **_named(engine, avoid)}


def for_data(engine: EngineConfig) -> dict[str, Any]:
    """Arguments of Ray Data's ``map_batches`` whose actors are to run as workers."""
    return {"num_cpus": engine.cpus_per_worker, "num_gpus": engine.gpus_per_worker or None, **_named(engine)}


def for_train(engine: EngineConfig) -> dict[str, Any]:
    """Arguments of Ray Train's ``ScalingConfig`` whose workers are to run as ours."""
    return {
        "use_gpu": engine.gpus_per_worker > 0,
        "resources_per_worker": wanted(engine),
        "label_selector": selector(engine) or None,
    }


def lacking(engine: EngineConfig) -> str | None:
    """What a worker asks for and no node offers at this time, in words; None if it can start at once."""
    if any(_seats(node, engine) for node in _nodes()):
        return None
    asked = " and ".join(f"{count:g} {UNITS.get(name, name)}" for name, count in wanted(engine).items())
    where = f" on a node labelled {_labels(engine.labels)}" if engine.labels else ""
    return f"a worker asks for {asked}{where}, and no node offers that: the cluster has {_offer(engine)}"


def room(engine: EngineConfig) -> int:
    """How many workers the cluster has room for now, one at least: a group starts whole or waits for ever."""
    return max(1, min(sys.maxsize, sum(_seats(node, engine) for node in _nodes())))


def _named(engine: EngineConfig, avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What tasks, actors and ``map_batches`` call by the same names; what is not asked for is left out."""
    chosen = {
        "memory": engine.resources.get("memory"),  # in bytes; Ray wants this one by an option of its own
        "resources": {name: count for name, count in engine.resources.items() if name != "memory"},
        "label_selector": selector(engine, avoid),
    }
    return {name: value for name, value in chosen.items() if value}


def _nodes() -> list[dict[str, Any]]:
    """The nodes that may get new work; one that drains gets none."""
    leaving = draining_nodes()
    return [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]


def _seats(node: Mapping[str, Any], engine: EngineConfig) -> int:
    """How many workers an empty node could hold."""
    if not all(_fits(rule, node["Labels"].get(label)) for label, rule in selector(engine).items()):
        return 0
    there = node["Resources"]
    return min((_shares(name, there.get(name, 0), n) for name, n in wanted(engine).items() if n), default=sys.maxsize)


def _shares(name: str, there: float, count: float) -> int:
    """How often a count goes into what is there; a fraction of a GPU is always one of the same GPU."""
    if name == "GPU" and count < 1:
        return int(there) * _times(1, count)
    return _times(there, count)


def _times(there: float, count: float) -> int:
    return int(there / count + 1e-6)  # 0.3 holds 0.1 three times, which floats deny


def _fits(rule: str, value: str | None) -> bool:
    """Whether a label satisfies ``a``, ``!a``, ``in(a,b)`` or ``!in(a,b)``; a label that is absent is not ``a``."""
    body = rule.removeprefix("!")
    names = body[body.index("(") + 1 : -1].split(",") if body.endswith(")") else [body]
    return (value in names) != rule.startswith("!")


def _offer(engine: EngineConfig) -> str:
    """What the nodes have of all that one can ask for, equal ones counted."""
    kinds = collections.Counter(_described(node, engine) for node in _nodes())
    named = [f"{n} {'node' if n == 1 else 'nodes'} with {kind}" for kind, n in kinds.most_common(KINDS)]
    return ", ".join(named + ["others"] * (len(kinds) > KINDS)) or "no nodes"


def _described(node: Mapping[str, Any], engine: EngineConfig) -> str:
    unsaid = {"memory", "object_store_memory"} - engine.resources.keys()
    has = {n: c for n, c in node["Resources"].items() if n not in unsaid and not n.startswith("node:")}
    words = [f"{count:g} {UNITS.get(name, name)}" for name, count in sorted({"CPU": 0, **has}.items())]
    labels = {k: v for k, v in node["Labels"].items() if k != NODE_ID or k in engine.labels}
    return " and ".join(words) + (f" labelled {_labels(labels)}" if labels else "")


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))
