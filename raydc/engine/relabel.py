"""The relabel stage: a Ray Data pipeline from image shards to label shards.

A row is a shard descriptor; the actor reads the shard, draws its views, labels them with the teachers and commits one
label shard. Labels are made of what a reader will decode, never of the tensors that synthesis had in memory. With
``mode: live`` nothing is stored: the same teachers label fresh views while students learn (``engine/evaluate.py``).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch

from raydc.condense.views import SAMPLER
from raydc.config import digest as digest_of
from raydc.config.stages.relabel import RelabelConfig
from raydc.engine.context import working_on
from raydc.engine.device import device
from raydc.engine.ensemble import answers, stored, teacher_names, teachers
from raydc.engine.failures import persist
from raydc.engine.pipeline import Batch, through, told
from raydc.engine.receipts import done, present, stamp, watched
from raydc.engine.run import Run
from raydc.engine.weights import read_record
from raydc.errors import ConfigError
from raydc.labels.codecs import CODECS, describe, fidelity
from raydc.labels.views import COLUMNS, VERSION, draw
from raydc.plan.items import LABEL_FILE_BYTES
from raydc.sources.places import in_threads
from raydc.sources.shard import ImageShard
from raydc.store.folder import Folder
from raydc.store.manifest import LabelFile, LabelSet, add_label_set, read
from raydc.store.schema import Aug, CodecName
from raydc.store.shards import label_shard
from raydc.teachers.ensemble import Teachers
from raydc.teachers.teacher import TeacherRecord

TEMPERATURES = (1, 4, 20)
"""Where the codec's loss is measured."""


def settings(run: Run) -> RelabelConfig:
    """The relabel section.

    Raises:
        ConfigError: the run has none.
    """
    if run.config.relabel is None:
        raise ConfigError("this run has no soft labels: relabel is null in its config")
    return run.config.relabel


def receipts(run: Run) -> Folder:
    """Where the receipts of this label set lie: other settings or other teachers never take them for their own."""
    made_by = [settings(run).effective(), [record.sha256 for record in _records(run)]]
    return run.work("relabel", f"{settings(run).name}-{digest_of(made_by)[:8]}")


def _records(run: Run) -> list[TeacherRecord]:
    return [read_record(run.teachers(), name) for name in teacher_names(run.config)]


def unit(dataset: str, shard: int) -> str:
    """The name of a shard's receipt."""
    return f"{dataset}-{shard:06d}"


def labelled(run: Run) -> bool:
    """Whether the product has all the labels that this run stores."""
    return not stored(run.config) or settings(run).name in read(run.dataset("condensed")).label_sets


class Labeler:
    """The Ray Data actor: rows of (dataset, shard) in, receipts out."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.config = settings(run)
        self.receipts = receipts(run)
        self.manifest = cache(lambda dataset: read(run.dataset(dataset)))
        self.device = device(run.config.engine)

    @cached_property
    def teachers(self) -> Teachers:
        """The labelling teachers; first asked for with a shard in hand: a constructor's error would arrive as text."""
        return teachers(self.run, self.device)

    def __call__(self, batch: Batch) -> Batch:
        return told(batch, self._labelled)

    def _labelled(self, row: dict[str, Any]) -> None:
        with working_on(self.run, f"shard {row['shard']} of {row['dataset']}", "relabel"):
            self.label(row["dataset"], row["shard"])

    def label(self, dataset: str, shard: int) -> None:
        """Label one shard and leave its receipt."""
        began, views, receipt_name = time.time(), self.config.views, f"{unit(dataset, shard)}.json"
        if self.receipts.exists(receipt_name):  # a worker that was given up came to the end of it
            return
        folder, name = self.run.dataset(dataset), self.config.name
        manifest = self.manifest(dataset)
        image_file = manifest.images.files[shard]
        stored = ImageShard(folder, manifest, image_file, check_digest=True).images(np.arange(image_file.samples))
        images = torch.from_numpy(stored.transpose(0, 3, 1, 2).copy()).to(self.device)
        key = self.run.key.child("relabel", dataset, name, shard)
        measured: dict[str, float] = {}
        files = []
        row_bytes = CODECS[self.config.codec].row_dtype(self.teachers.classes).itemsize + 2 * len(COLUMNS)
        step = max(1, LABEL_FILE_BYTES // (row_bytes * len(images)))
        for first in range(0, views, step):
            last = min(views, first + step)
            tar, members = label_shard(self._views(images, key, range(first, last), measured))
            # With its digest: what other settings or a late twin wrote never stands under the name of a receipt.
            digest = hashlib.sha256(tar).hexdigest()[:12]
            path = f"labels/{name}/train-{shard:06d}-v{first:04d}-{last - 1:04d}-{digest}.tar"
            receipt = folder.write(path, tar)
            file = LabelFile(
                path=receipt.path,
                bytes=receipt.bytes,
                sha256=receipt.sha256,
                images=image_file.path,
                views=(first, last),
                members=members,
                keys_sha256=image_file.keys_sha256,
            )
            files.append(file.model_dump())
        meta = {
            **stamp(began),
            "image_steps": len(images) * views,
            "bytes": sum(file["bytes"] for file in files),
        }
        receipt_of_shard = {"files": files, "count": len(images), "fidelity": measured, "meta": meta}
        self.receipts.write_json(receipt_name, receipt_of_shard)

    def _views(
        self, images: torch.Tensor, key: Any, views: range, measured: dict[str, float]
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        codec, size = CODECS[self.config.codec], self.run.config.data.image_size
        for view in views:
            records = draw(key.child(view), len(images), images.shape[2], images.shape[3], size, self.config.view)
            logits = answers(self.teachers, images, records, size, key.child(view))
            rows = codec.encode(logits)
            if view == 0:
                decoded = codec.decode(rows, logits.shape[1])
                measured.update({f"T{t}": fidelity(logits, decoded, t) for t in TEMPERATURES})
            yield view, records, rows


def relabel(run: Run, datasets: list[str], start: Callable[..., None], emit: Callable[..., None]) -> None:
    """Add the run's label set to each data set that lacks it; with ``mode: live`` there is nothing to add.

    Args:
        run: the run.
        datasets: which data sets; they must be packed.
        start: takes (shards in all, shards done, name of the unit).
        emit: takes events.
    """
    if not stored(run.config):
        start(0, 0, "shard")
        emit("note", text="relabel.mode is live: the data set carries hard labels alone; to publish soft ones too, "
             "`raydc relabel` with --set relabel.mode=stored")  # fmt: skip
        return
    name = settings(run).name
    shards = [(d, s) for d in datasets for s in range(len(read(run.dataset(d)).images.files))]
    folder = receipts(run)
    finished = done(folder)
    for dataset in datasets:
        mine = {unit(d, s) for d, s in shards if d == dataset}
        if name in read(run.dataset(dataset)).label_sets and present(folder, mine) != mine:
            raise ConfigError(
                f"data set '{dataset}' has a label set '{name}' that was made with other settings. "
                "Give the new one a name of its own: relabel.name"
            )
    start(len(shards), sum(unit(d, s) in finished for d, s in shards), "shard")

    def report(shard: str) -> None:
        meta = folder.read_json(f"{shard}.json")["meta"]
        emit("unit_done", unit=shard, **meta)

    def label_the_rest() -> None:
        left = done(folder)
        rows = [{"dataset": d, "shard": s} for d, s in shards if unit(d, s) not in left]
        if rows:
            through(rows, Labeler, (run,), run.config.engine, emit, "labelling", "shards could not be labelled")

    with watched(folder, finished, report):
        persist(label_the_rest, lambda: done(folder), run.config.engine.max_attempts, emit, "labelling")
    for dataset in datasets:
        if name not in read(run.dataset(dataset)).label_sets:
            add_label_set(run.dataset(dataset), name, label_set(run, dataset))


def summary(run: Run, datasets: list[str]) -> str:
    """One line about the labels."""
    config = settings(run)
    if not stored(run.config):
        return f"nothing is stored: {', '.join(teacher_names(run.config))} label while students learn"
    total = sum(f.bytes for d in datasets for f in read(run.dataset(d)).label_sets[config.name].files)
    return f"{config.views} views an image, {config.codec}, {total / 1e6:.1f} MB"


def label_set(run: Run, dataset: str) -> LabelSet:
    """The manifest's entry of a data set's labels, from the receipts of its shards."""
    config = settings(run)
    records, codec = _records(run), CODECS[config.codec]
    classes = records[0].classes
    shards = len(read(run.dataset(dataset)).images.files)
    folder = receipts(run)
    found = in_threads(folder.read_json, [f"{unit(dataset, s)}.json" for s in range(shards)])
    total = sum(r["count"] for r in found)
    measured = {
        name: {"kl_mean": sum(r["fidelity"][name] * r["count"] for r in found) / total} for name in found[0]["fidelity"]
    }
    return LabelSet(
        views=config.views,
        codec=CodecName(use=codec.name, version=codec.version),
        row_bytes=codec.row_dtype(classes).itemsize,
        row_dtype=describe(codec, classes),
        aug=Aug(version=VERSION, columns=list(COLUMNS), sampler=SAMPLER, size=run.config.data.image_size),
        teachers=[f"sha256:{record.sha256}" for record in records],
        labelled="decoded stored images",
        decoder=f"Pillow {importlib.metadata.version('pillow')}",
        fidelity=measured,
        files=[LabelFile.model_validate(f) for r in found for f in r["files"]],
    )
