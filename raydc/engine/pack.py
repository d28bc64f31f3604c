"""The pack stage: parts in block order become image shards in one seeded permutation, then a manifest."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import ray

from raydc.config import RunConfig, dump
from raydc.engine.failures import wait
from raydc.engine.parts import image_name, read_marker
from raydc.engine.receipts import done
from raydc.engine.run import Run
from raydc.errors import DataError
from raydc.sources.places import in_threads
from raydc.store.manifest import ImageFile, Images, Manifest, Source, publish, read
from raydc.store.shards import Sample, image_shard, keys_digest

IN_FLIGHT = 8
"""Shards packed at a time: each holds one shard of encoded images in memory."""


@dataclass(frozen=True)
class Row:
    """One image of a data set and where its bytes lie."""

    part: str
    offset: int
    size: int
    label: int
    ipc: int
    block: int


def rows_of(run: Run, dataset: str, ids: list[str]) -> list[Row]:
    """Every image of a data set in block order, from the markers of its blocks."""
    rows = []
    for marker in in_threads(partial(read_marker, run, dataset), ids):
        for n, (label, ipc) in enumerate(marker["entries"]):
            offset, size = marker["members"][image_name(n, run.config.pack.format)]
            rows.append(Row(marker["part"], offset, size, label, ipc, marker["number"]))
    return rows


@ray.remote
def pack_shard(
    run: Run, dataset: str, number: int, first_key: int, rows: list[Row], classes: list[str]
) -> dict[str, Any]:
    """Write one image shard and return its entry of the manifest."""
    by_part = defaultdict(list)
    for place, row in enumerate(rows):
        by_part[row.part].append(place)
    data: list[bytes] = [b""] * len(rows)

    def read(part: str) -> None:
        places = by_part[part]
        found = run.blocks(dataset).ranges(part, [(rows[p].offset, rows[p].size) for p in places])
        for place, payload in zip(places, found, strict=True):
            data[place] = payload

    in_threads(read, by_part)  # a permutation spreads a shard over most parts: many small reads
    source = run.config.method.name if dataset == "condensed" else dataset
    samples = [
        Sample(row.label, classes[row.label], row.ipc, row.block, source, run.config.pack.format, payload)
        for row, payload in zip(rows, data, strict=True)
    ]
    tar, keys = image_shard(samples, first_key)
    receipt = run.dataset(dataset).write(f"images/train-{number:06d}.tar", tar)
    file = ImageFile(
        path=receipt.path, bytes=receipt.bytes, sha256=receipt.sha256, samples=len(keys), keys_sha256=keys_digest(keys)
    )
    entry = file.model_dump()
    run.work("pack", dataset).write_json(f"{number:06d}.json", entry)
    return entry


def pack(run: Run, dataset: str, ids: list[str], classes: list[str], emit: Callable[..., None]) -> None:
    """Pack a data set's parts, unless its manifest exists.

    Raises:
        DataError: a block has no marker.
    """
    target = run.dataset(dataset)
    if target.exists("raydc.json"):
        return
    missing = set(ids) - done(run.blocks(dataset))
    if missing:
        raise DataError(
            f"{len(missing)} of {len(ids)} blocks of '{dataset}' have no marker (first: {min(missing)}). "
            "Run `raydc synthesize` first"
        )
    rows = rows_of(run, dataset, ids)
    order = run.key.child("pack", dataset).permutation(len(rows))
    shards = np.array_split(order, -(-len(rows) // run.config.pack.shard_size))
    firsts = np.cumsum([0, *(len(s) for s in shards)])
    finished = done(run.work("pack", dataset))
    names = ray.put(classes)
    waiting: list[Any] = []
    for number, shard in enumerate(shards):
        if f"{number:06d}" in finished:
            continue
        if len(waiting) >= IN_FLIGHT:
            ready, waiting = ray.wait(waiting, num_returns=1)
            wait(ready)
        task = pack_shard.options(max_retries=run.config.engine.max_attempts)
        waiting.append(task.remote(run, dataset, number, int(firsts[number]), [rows[i] for i in shard], names))
    wait(waiting)
    files = [ImageFile.model_validate(run.work("pack", dataset).read_json(f"{n:06d}.json")) for n in range(len(shards))]
    source = Source(name=run.config.data.name, classes=len(classes))
    manifest = Manifest(source=source, images=images_info(run, len(rows), files))
    publish(target, manifest, classes, card(run.config, dataset, len(rows), len(classes)), provenance(run))
    emit("progress", text=f"{dataset}: {len(rows)} images in {len(files)} shards")


def identity(run: Run) -> str:
    """The ``dataset_id`` of the product."""
    return read(run.dataset("condensed")).dataset_id


def provenance(run: Run) -> dict[str, bytes]:
    """What made the images: the config, the versions and the teachers."""
    teachers = {t.name: run.teachers().read_json(f"{t.name}.json") for t in run.config.squeeze.teachers}
    return {
        "provenance/run.yaml": dump(run.config).encode(),
        "provenance/env.json": run.folder.read("env.json"),
        "provenance/teachers.json": json.dumps(teachers, indent=1).encode(),
    }


def images_info(run: Run, count: int, files: list[ImageFile]) -> Images:
    """The image section of the manifest."""
    pack, size = run.config.pack, run.config.data.image_size
    jpeg = pack.format == "jpg"
    return Images(
        count=count,
        size=(size, size),
        codec=pack.format,
        quality=pack.quality if jpeg else None,
        subsampling="4:4:4" if jpeg else None,
        permutation_seed=run.config.seed,
        files=files,
    )


def card(config: RunConfig, dataset: str, count: int, classes: int) -> str:
    """What the data set's README says above its technical part."""
    name, method = config.data.name, config.method.title or config.method.name
    what = {
        "condensed": f"{count} images condensed from `{name}` by {method}",
        "random": f"A control: {count} real images of `{name}`, drawn at random, as many a class as the condensed set",
    }[dataset]
    return f"# {config.name}: {dataset}\n\n{what}, {classes} classes, made by raydc.\n"
