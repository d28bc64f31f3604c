"""The files below ``configs/``, and how far two runs are apart."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from raydc.config import RunConfig, load

CONFIGS = Path(__file__).parents[2] / "configs"
METHODS = sorted((CONFIGS / "methods").glob("*.yaml"))
SECTIONS = {"datasets": "data", "pools": "squeeze", "settings": "synthesize", "protocols": "", "engines": "engine"}
"""Folders of files that a section extends, and the section; protocols are of two sections."""
FRAGMENTS = sorted(path for folder in SECTIONS for path in (CONFIGS / folder).glob("*.yaml"))
RUNS = sorted({*CONFIGS.rglob("*.yaml")} - {*METHODS, *FRAGMENTS})
BASE: dict[str, Any] = {
    "name": "base",
    "method": {"name": "m"},
    "data": {"use": "digits", "image_size": 224},
    "squeeze": {"teachers": [{"name": "t", "arch": {"name": "resnet18"}, "weights": "t.safetensors"}]},
    "synthesize": {"ipc": 10, "steps": 0, "initialize": {"use": "noise"}, "blocks": {"group": "class_major"}},
}

read = cache(load)
"""A shipped run, read once."""


def method(name: str, tmp_path: Path) -> RunConfig:
    """A method's file, completed to a run."""
    own = {k: BASE[k] for k in ("name", "data", "squeeze")} | {"synthesize": {"ipc": 10}}
    path = tmp_path / f"{name}-run.yaml"
    path.write_text(yaml.safe_dump(own | {"extends": str(CONFIGS / "methods" / f"{name}.yaml")}))
    return load(path)


def by_name(tree: Any) -> Any:
    """Lists of components as mappings of their names."""
    if isinstance(tree, list) and tree and all(isinstance(item, dict) and "use" in item for item in tree):
        return {item["use"]: item for item in tree}
    return tree


def changed(one: Any, other: Any, path: str = "") -> set[str]:
    """The dotted paths at which two resolved trees differ; a component that only one of them has is one path."""
    one, other = by_name(one), by_name(other)
    if isinstance(one, dict) and isinstance(other, dict) and one.get("use") == other.get("use"):
        return {p for k in {*one, *other} for p in changed(one.get(k), other.get(k), f"{path}.{k}".lstrip("."))}
    return set() if one == other else {path}


def steps_between(one: RunConfig, other: RunConfig) -> set[str]:
    trees = [run.model_dump(mode="json", by_alias=True, exclude={"name", "method"}) for run in (one, other)]
    return changed(*trees)
