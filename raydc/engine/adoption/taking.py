"""Taking a set over: unit by unit through the pool, each a part and a marker as synthesis would leave them."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import ray
import safetensors.numpy

from raydc.config import RunConfig
from raydc.engine.block_maker import Work
from raydc.engine.context import working_on
from raydc.engine.parts import image_name, read_marker, write_part
from raydc.engine.receipts import done, stamp
from raydc.engine.run import Run
from raydc.engine.worker import Worker, through
from raydc.errors import DataError
from raydc.plan.blocks import Block
from raydc.sources.given import Given, open_given
from raydc.sources.given.base import UNIT
from raydc.sources.places import in_threads
from raydc.store import manifest as manifests
from raydc.store.faults import clean
from raydc.store.folder import Folder

FACTS, INDEX = "adopted.json", "adopted.safetensors"
"""What was adopted, for people; the class of each image and the units, for a resume."""


def look(run: Run, classes: list[str], emit: Callable[..., None]) -> list[Block]:
    """The units of the adopted set as blocks, from the run folder or, at the first look, from the set itself.

    Raises:
        DataError: the set cannot be read, or does not fit the data of the run.
    """
    work = run.work()
    if not run.folder.exists(FACTS):
        given = _open(run.config, classes)
        counts = Counter(given.labels.tolist())
        index = {"labels": given.labels.astype("<i4"), "cuts": np.array(given.cuts, "<i8")}
        work.write(INDEX, safetensors.numpy.save(index))
        facts = {**_facts(run.config, given), "images": len(given.labels), "classes": len(counts)}
        run.folder.write_json(FACTS, {**facts, "fewest": min(counts.values()), "most": max(counts.values())})
    facts = run.folder.read_json(FACTS)
    emit("note", text=_told(facts, len(classes)))
    index = safetensors.numpy.load(work.read(INDEX))
    return _blocks(index["labels"].tolist(), index["cuts"].tolist())


def _open(config: RunConfig, classes: list[str]) -> Given:
    if config.adopt is None:
        raise DataError("this run adopts no data set: it has no 'adopt' in its config")
    return open_given(config.adopt, config.data, tuple(classes))


def _facts(config: RunConfig, given: Given) -> dict[str, Any]:
    """What a set was when it was first looked at."""
    url = config.adopt.url if config.adopt else ""
    published = manifests.read(Folder(url)) if given.form == "raydc" else None
    return {
        "url": clean(url),
        "form": given.form,
        "fingerprint": given.fingerprint(),
        "dataset_id": published.dataset_id if published else None,
        "label_sets": {name: s.teachers for name, s in published.label_sets.items()} if published else {},
    }


def _told(facts: dict[str, Any], classes: int) -> str:
    few, most = facts["fewest"], facts["most"]
    each = f"{few}" if few == most else f"{few} to {most}"
    have = "" if facts["classes"] == classes else f", {facts['classes']} of {classes} classes"
    return f"adopted {facts['url']}: {facts['images']} images, {each} a class{have}"


def _blocks(labels: list[int], cuts: list[int]) -> list[Block]:
    """Blocks of consecutive images; an image's number in its class is how many of that class came before it."""
    seen: Counter[int] = Counter()
    indices = []
    for label in labels:
        indices.append(seen[label])
        seen[label] += 1
    spans = enumerate(pairwise(cuts))
    return [Block(f"a{a:08d}", n, tuple(labels[a:b]), tuple(indices[a:b])) for n, (a, b) in spans]


def uneven(counts: Mapping[int, int]) -> list[Block]:
    """Blocks of so many images of each class, class after class."""
    entries = [(label, index) for label in sorted(counts) for index in range(counts[label])]
    pieces = (entries[first : first + UNIT] for first in range(0, len(entries), UNIT))
    return [Block(f"u{n:06d}", n, *map(tuple, zip(*piece, strict=True))) for n, piece in enumerate(pieces)]


def take(run: Run, blocks: list[Block], classes: list[str], emit: Callable[..., None]) -> None:
    """Take over every unit that has no marker.

    Raises:
        DataError: the set has changed since the run began, or images that cannot be read or do not fit.
    """
    finished = done(run.blocks("condensed"))
    todo = [Work("condensed", (block,)) for block in blocks if block.id not in finished]
    if not todo:
        return
    given = _open(run.config, classes)
    facts = run.folder.read_json(FACTS)
    if given.fingerprint() != facts["fingerprint"]:
        raise DataError(f"{facts['url']} is not what it was when run {run.url} began to judge it. Restore it, or "
                        "choose another 'output'")  # fmt: skip
    through(Adopter, (run, [ray.put(given)]), todo, run.config.engine, emit, "unit")


def digest(run: Run, blocks: list[Block]) -> str:
    """What was judged, by content: the data set's own identity, or a digest of every class and all that was read."""
    facts = run.folder.read_json(FACTS)
    if facts["dataset_id"]:
        return str(facts["dataset_id"])
    found = hashlib.sha256()
    for marker in in_threads(lambda block: read_marker(run, "condensed", block.id), blocks):
        found.update(repr([label for label, _ in marker["entries"]]).encode() + bytes.fromhex(marker["read_sha256"]))
    return f"sha256:{found.hexdigest()}"


class Adopter(Worker):
    """The actor: a unit of the set becomes a part and a marker; shards of a raydc data set are kept beside."""

    def __init__(self, run: Run, given: list[Any]) -> None:
        Worker.__init__(self, run, [])  # Ray copies the class, so that super() does not know it
        self.given_ref = given
        self.given: Given | None = None

    def progress(self) -> float:
        """A unit takes seconds: nobody copies it."""
        return 0.0

    def run(self, work: Work) -> dict[str, Any]:
        """Take a unit over and commit it."""
        (block,) = work.blocks
        with working_on(self.job, f"unit {block.id} of the adopted set", "adopt"):
            return self._run(block)

    def _run(self, block: Block) -> dict[str, Any]:
        began, markers, name = time.time(), self.job.blocks("condensed"), f"{block.id}.json"
        if markers.exists(name):
            return dict(markers.read_json(name)["meta"])
        if self.given is None:
            self.given = ray.get(self.given_ref[0])
        first = int(block.id[1:])
        taken = self.given.take(first, first + len(block))
        for path, data in taken.files.items():
            self.job.dataset("condensed").write(path, data)
        members = [(image_name(n, self.job.config.pack.format), image) for n, image in enumerate(taken.images)]
        part = write_part(markers, block, members)
        meta = {**stamp(began), "image_steps": 0, "bytes": part["bytes"]}
        extra: dict[str, Any] = {"read_sha256": taken.sha256, "shown": 0, "history": {"steps": []}, "meta": meta}
        markers.write_json(name, {**part, **extra})
        return meta
