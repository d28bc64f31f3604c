from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from raydc.store.folder import Folder
from raydc.store.verify import verify
from tests import tiny

from .chaos import SEAT, Campaign, Machines, machines

CHANGES: dict[str, Any] = {
    "synthesize": {"ipc": 4, "blocks": {"size": 2}, "steps": 1000, "checkpoint_every": 25},
    "pack": {"shard_size": 1},
    "relabel": {"views": 150},
    "evaluate": {"data": ["condensed"], "epochs": 120, "workers": 2},
    "engine": {"workers": 4, "cpus_per_worker": SEAT, "speculate": False},
}
"""Long enough that every fault strikes in the middle of something."""
NO_LABELS: dict[str, Any] = {"relabel": None, "evaluate": {**CHANGES["evaluate"], "students": [], "labels": ["hard"]}}
"""For runs that are about the images alone: labels and students are not made."""


@pytest.fixture(scope="package")
def cluster() -> Iterator[Machines]:
    with machines(4) as found:
        yield found


@dataclass(frozen=True)
class Undisturbed:
    """The run that nothing has happened to, and copies of it in which a part of the work is still to be done."""

    folder: Path
    cluster: Machines

    def without(self, folder: Path, *removed: str, changes: dict[str, Any] | None = None) -> Path:
        """A copy without these parts; its config."""
        shutil.copytree(self.folder, folder / "run")
        for pattern in ("events", "run.yaml", *removed):
            for path in (folder / "run").glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return tiny.write(folder, {**CHANGES, **(changes or {})})

    def same(self, run: Path, *parts: str) -> None:
        """A run has the same data set, and the same labels and students where it was to make them."""
        assert verify(Folder(run / "datasets/condensed")) == []
        mine, other = (json.loads((f / "datasets/condensed/raydc.json").read_text()) for f in (self.folder, run))
        assert other["dataset_id"] == mine["dataset_id"]
        if "labels" not in parts:
            return
        assert other["revision"] == mine["revision"]
        files = [[f["sha256"] for f in m["label_sets"]["soft"]["files"]] for m in (mine, other)]
        assert files[0] == files[1]
        results = [json.loads((f / "metrics.json").read_text())["evaluations"] for f in (self.folder, run)]
        timeless = [[{k: v for k, v in e.items() if k != "wall_s"} for e in r] for r in results]
        assert timeless[0] == timeless[1]


@pytest.fixture(scope="package")
def undisturbed(cluster: Machines, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    alone = {"engine": {**CHANGES["engine"], "workers": 1}, "evaluate": {**CHANGES["evaluate"], "workers": 1}}
    campaign = Campaign(tiny.write(folder, {**CHANGES, **alone}), cluster)
    try:
        campaign.finish()
    finally:
        campaign.end()
    return Undisturbed(folder / "run", cluster)


@pytest.fixture
def start(cluster: Machines) -> Iterator[Callable[..., Campaign]]:
    """Start runs on so many nodes."""
    begun: list[Campaign] = []

    def starting(config: Path, nodes: int = 4) -> Campaign:
        cluster.fill(nodes)
        begun.append(Campaign(config, cluster))
        return begun[-1]

    yield starting
    for campaign in begun:
        campaign.end()
