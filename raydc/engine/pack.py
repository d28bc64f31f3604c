"""The pack stage: parts in block order become image shards in one seeded permutation, then a manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import ray

from raydc.config import RunConfig, dump
from raydc.config.stages.engine import EngineConfig
from raydc.engine.capacity import options, room
from raydc.engine.execution.kept import FILE, known
from raydc.engine.failures import persist, wait
from raydc.engine.receipts import done, present
from raydc.engine.rows import Rows, rows_of
from raydc.engine.run import Run
from raydc.errors import ClusterError, DataError, RaydcError, StorageError
from raydc.sources.places import in_threads
from raydc.store.faults import clean
from raydc.store.manifest import ImageFile, Images, Manifest, Source, publish, read
from raydc.store.shards import Sample, image_shard, keys_digest

Emit = Callable[..., None]

COPIES = 4
"""How often a packer holds the images of its shard: as read, as the archive grows, as bytes, on the way to storage."""
ROUND_BYTES = 64 * 2**20
"""What a packer asks for beside them: the rest of its process that is not shared with others."""


def pack(run: Run, dataset: str, ids: list[str], classes: list[str], emit: Emit) -> None:
    """Pack a data set's parts, unless its manifest exists.

    Raises:
        DataError: a block has no marker, or a part is not what its marker says.
        ClusterError, StorageError: ``engine.max_attempts`` failures in a row without a shard packed between them.
    """
    target = run.dataset(dataset)
    if target.exists("raydc.json"):
        return
    check_markers(run, dataset, ids)
    rows = rows_of(run, dataset, ids)
    count = len(rows.images)
    order = run.key.child("pack", dataset).permutation(count)
    shards = np.array_split(order, -(-count // run.config.pack.shard_size))
    packing = _Packing(run, dataset, rows, shards, classes, emit)
    persist(packing.run_all, packing.finished, run.config.engine.max_attempts, emit, f"packing {dataset}")
    receipts = run.work("pack", dataset)
    names = [f"{n:06d}.json" for n in range(len(shards))]
    files = [ImageFile.model_validate(tree) for tree in in_threads(receipts.read_json, names)]
    source = Source(name=run.config.data.name, classes=len(classes))
    manifest = Manifest(source=source, images=images_info(run, count, files))
    publish(target, manifest, classes, card(run.config, dataset, count, len(classes)), provenance(run))
    emit("progress", text=f"{dataset}: {count} images in {len(files)} shards")


def check_markers(run: Run, dataset: str, ids: list[str]) -> None:
    """Refuse to pack what is not whole.

    Raises:
        DataError: a block has no marker.
    """
    folder = run.blocks(dataset)
    missing = sorted(set(ids) - present(folder, ids))
    if missing:
        raise DataError(
            f"{len(missing)} of {len(ids)} blocks of '{dataset}' have no marker (first: {missing[0]}). "
            "Run `raydc synthesize` first"
        )


class _Packing:
    """The shards of one data set on their way: as many at a time as the nodes have CPUs and memory for."""

    def __init__(
        self, run: Run, dataset: str, rows: Rows, shards: list[np.ndarray], classes: list[str], emit: Emit
    ) -> None:
        self.run, self.dataset, self.rows, self.shards, self.emit = run, dataset, rows, shards, emit
        self.firsts = np.cumsum([0, *(len(s) for s in shards)])
        self.shared = ray.put((run, dataset, rows.parts, classes))
        self.packer = packer(run.config.engine, max(int(rows.images["size"][s].sum()) for s in shards))
        self.failed: set[int] = set()

    def finished(self) -> set[str]:
        """The shards that have a receipt."""
        return done(self.run.work("pack", self.dataset))

    def run_all(self) -> None:
        """Pack every shard that has no receipt; each may run twice and writes the same bytes.

        After a failure no more are started, but those on their way are waited for.

        Raises:
            RaydcError: what befell a shard.
        """
        count, finished = len(self.shards), self.finished()
        todo = [n for n in range(count) if f"{n:06d}" not in finished]
        todo.sort(key=lambda n: (n in self.failed, n), reverse=True)  # one that always fails holds up no other
        packed = count - len(todo)
        waiting: dict[Any, int] = {}
        errors: list[RaydcError] = []
        while waiting or (todo and not errors):
            while todo and not errors and len(waiting) < room(self.packer):
                number = todo.pop()
                waiting[self._start(number)] = number
            for ref in ray.wait(list(waiting), num_returns=1)[0]:
                number = waiting.pop(ref)
                try:
                    wait([ref])
                except (ClusterError, StorageError) as error:
                    errors.append(error)
                    self.failed.add(number)
                else:
                    packed += 1
                    self.emit("progress", text=f"{self.dataset}: {packed} of {count} shards packed")
        if errors:
            raise errors[0]

    def _start(self, number: int) -> Any:
        engine = self.run.config.engine
        task = pack_shard.options(max_retries=engine.max_attempts, **options(self.packer))
        return task.remote(self.shared, number, int(self.firsts[number]), self.rows.images[self.shards[number]])


def packer(engine: EngineConfig, shard_bytes: int) -> EngineConfig:
    """What a packer asks of its node, for shards of at most these bytes of images: one CPU, and memory.

    Where no node has as much memory, it asks for all of the largest and so has it alone.
    """
    largest = max((node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"]), default=0)
    memory = min(COPIES * shard_bytes + ROUND_BYTES, int(largest)) if largest else 0
    shape = {"cpus_per_worker": 1, "gpus_per_worker": 0, "resources": {"memory": memory} if memory else {}}
    return engine.model_copy(update=shape)


@ray.remote
def pack_shard(
    shared: tuple[Run, str, tuple[tuple[str, int], ...], list[str]], number: int, first_key: int, rows: np.ndarray
) -> None:
    """Write one image shard and its receipt, the entry of the manifest.

    Args:
        shared: the run, the data set, its parts and the names of the classes.
        number: of the shard.
        first_key: position of its first image in the whole data set.
        rows: where its images lie, in their final order; see :data:`raydc.engine.rows.ROW`.
    """
    run, dataset, parts, classes = shared
    config, blocks = run.config, run.blocks(dataset)
    data: list[bytes] = [b""] * len(rows)

    def read(places: np.ndarray) -> None:
        spans = [(int(rows["offset"][p]), int(rows["size"][p])) for p in places]
        found = blocks.ranges(parts[rows["part"][places[0]]][0], spans)
        for place, payload in zip(places, found, strict=True):
            data[place] = payload

    by_part = np.argsort(rows["part"], kind="stable")
    # A permutation spreads a shard over most parts: many small reads.
    in_threads(read, np.split(by_part, np.flatnonzero(np.diff(rows["part"][by_part])) + 1))
    source = config.method.name if dataset == "condensed" else dataset
    tar, keys = image_shard(
        (
            Sample(label, classes[label], index, parts[part][1], source, config.pack.format, payload)
            for (part, _, _, label, index), payload in zip(rows.tolist(), data, strict=True)
        ),
        first_key,
    )
    written = run.dataset(dataset).write(f"images/train-{number:06d}.tar", tar)
    entry = ImageFile(
        path=written.path, bytes=written.bytes, sha256=written.sha256, samples=len(keys), keys_sha256=keys_digest(keys)
    )
    run.work("pack", dataset).write_json(f"{number:06d}.json", entry.model_dump())


def identity(run: Run) -> str:
    """The ``dataset_id`` of the product."""
    return read(run.dataset("condensed")).dataset_id


def provenance(run: Run) -> dict[str, bytes]:
    """What made the images: the config, the versions and the teachers."""
    teachers = {t.name: run.teachers().read_json(f"{t.name}.json") for t in run.config.teachers}
    # Of what was chosen only what the images hang on: a label set states its own execution.
    chosen = {name: found for name, found in known(run).items() if name == "synthesize"}
    return {
        **({f"provenance/{FILE}": json.dumps(chosen, indent=1).encode()} if chosen else {}),
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
    made = f"condensed from `{name}` by {method}"
    what = {
        "condensed": f"{count} images {made if config.adopt is None else f'taken over from {clean(config.adopt.url)}'}",
        "random": f"A control: {count} real images of `{name}`, drawn at random, as many a class as the condensed set",
    }[dataset]
    return f"# {config.name}: {dataset}\n\n{what}, {classes} classes, made by raydc.\n"
