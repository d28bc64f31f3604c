"""A tiny run up to its synthesis, made in this process: a teacher that was never trained, digits, a few blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from toys import pixels, write_images

from raydc.config.load import merge, validate
from raydc.engine import pack, synthesize
from raydc.engine.run import Run, open_run
from raydc.engine.weights import read_record
from raydc.keys import Key
from raydc.plan.blocks import Block
from raydc.sources.base import Source, open_source
from raydc.store.manifest import publish
from raydc.teachers.networks import build
from raydc.teachers.teacher import TeacherRecord, save
from tests.tiny import TREE

SIDE: int = TREE["data"]["image_size"]
STEPS: int = TREE["synthesize"]["steps"]


@dataclass
class Small:
    """A run whose teacher is there."""

    run: Run
    source: Source
    events: list[dict[str, Any]]

    @property
    def blocks(self) -> list[Block]:
        return synthesize.blocks_of(self.run, list(self.source.classes))

    def emit(self, kind: str, **fields: Any) -> None:
        self.events.append({"kind": kind, **fields})

    def synthesize(self, put: Callable[[Any], Any]) -> None:
        datasets = {name: self.blocks for name in ("condensed", "random")}
        synthesize.synthesize(self.run, datasets, [put(self.source)], lambda *_: None, self.emit)

    def pack(self) -> str:
        """The digest of the packed product."""
        names = [b.id for b in self.blocks]
        pack.pack(self.run, "condensed", names, list(self.source.classes), self.emit)
        return pack.identity(self.run)

    def markers(self) -> dict[str, dict[str, Any]]:
        """The markers of all blocks, by data set and block."""
        found = {}
        for dataset in ("condensed", "random"):
            folder = self.run.blocks(dataset)
            names = [n for n in folder.list() if n.endswith(".json")]
            found |= {f"{dataset}/{n.removesuffix('.json')}": folder.read_json(n) for n in names}
        return found

    def parts(self) -> dict[str, str]:
        """The digest of every part."""
        return {name: marker["sha256"] for name, marker in self.markers().items()}

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["kind"] == kind]


def small(folder: Path, changes: dict[str, Any] | None = None) -> Small:
    """A new run in a folder."""
    config = validate(merge(merge(TREE, {"output": str(folder)}), changes or {}), "a test")
    run = open_run(config)
    source = open_source(config.data, run.key.child("holdout"))
    wanted = config.squeeze.teachers[0]
    torch.set_num_threads(1)
    network = build(wanted.arch, len(source.classes), config.data.image_size, Key((5, "teacher")))
    weights = folder / "teachers" / f"{wanted.name}.safetensors"
    weights.parent.mkdir(parents=True)
    record = TeacherRecord(
        name=wanted.name, arch=wanted.arch, normalize=wanted.normalize, outputs=len(source.classes),
        image_size=config.data.image_size, sha256=save(network, weights), origin="a test",
    )  # fmt: skip
    run.teachers().write_json(f"{wanted.name}.json", record.model_dump(mode="json"))
    return Small(run, source, [])


TWO = {"squeeze": {"teachers": [TREE["squeeze"]["teachers"][0], {**TREE["squeeze"]["teachers"][0], "name": "other"}]}}


def two(folder: Path, **relabel_settings: Any) -> Small:
    """A run with two teachers and packed pictures, of which it knows nothing but that they are there."""
    made = small(folder, {**TWO, "relabel": relabel_settings, "evaluate": {"epochs": 2, "data": ["condensed"]}})
    record = read_record(made.run.teachers(), "resnet")
    network = build(record.arch, record.outputs, record.image_size, Key((6, "teacher")))
    sha256 = save(network, folder / "teachers" / "other.safetensors")
    other = record.model_copy(update={"name": "other", "sha256": sha256})
    made.run.teachers().write_json("other.json", other.model_dump(mode="json"))
    place, names = made.run.dataset("condensed"), list(made.source.classes)
    manifest = write_images(place, pixels(8, SIDE), (3, 5))
    whole = manifest.source.model_copy(update={"classes": len(names)})
    publish(place, manifest.model_copy(update={"source": whole}), names, "# pictures\n")
    return made
