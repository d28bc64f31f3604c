"""What is kept of a raydc data set that is judged: its manifest, so its identity, and its own labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ray

from raydc.config import RunConfig
from raydc.engine.capacity import options
from raydc.engine.failures import persist, wait
from raydc.engine.labeler import codec, records_of
from raydc.engine.pack import card, check_markers, provenance
from raydc.engine.receipts import done
from raydc.engine.run import Run
from raydc.errors import DataError
from raydc.store import manifest as manifests
from raydc.store.checked import read_checked
from raydc.store.folder import Folder
from raydc.store.manifest import Manifest, Source
from raydc.store.schema import LabelFile, LabelSet

Emit = Callable[..., None]


def publish(run: Run, ids: list[str], classes: list[str]) -> None:
    """Publish the shards that were taken over as what they were: the same data set, of the same ``dataset_id``."""
    target = run.dataset("condensed")
    if target.exists(manifests.MANIFEST):
        return
    check_markers(run, "condensed", ids)
    theirs = _theirs(run.config)
    source = Source(name=theirs.source.name, classes=len(classes))
    manifest = Manifest(source=source, images=theirs.images, created=theirs.created)
    text = card(run.config, "condensed", theirs.images.count, len(classes))
    made = manifests.publish(target, manifest, classes, text, provenance(run))
    if made.dataset_id != theirs.dataset_id:
        raise DataError(f"{_url(run.config)} is not the data set that its manifest names: {theirs.dataset_id} would be "
                        f"{made.dataset_id}. `raydc verify` says what is wrong")  # fmt: skip


def brings(facts: dict[str, Any], config: RunConfig) -> bool:
    """Whether the adopted set has every label set that the run stores, by name; else all of them are made."""
    wanted = {s.name for s in config.relabel.sets} if config.relabel else set()
    return bool(wanted) and wanted <= facts["label_sets"].keys()


def take_labels(run: Run, emit: Emit) -> None:
    """Copy the label sets that the run asks for beside the images, each file held against its digest."""
    for labels in run.config.relabel.sets if run.config.relabel else []:
        _take_set(run, labels.name, emit)


def _take_set(run: Run, name: str, emit: Emit) -> None:
    target = run.dataset("condensed")
    if name in manifests.read(target).label_sets:
        return
    theirs = manifests.open_label_set(_theirs(run.config), name)
    differs = list(_unlike(run, name, theirs))
    if differs:
        emit("note", text=f"label set '{name}' came with the adopted set; the control's has {', '.join(differs)}")
    receipts = run.work("adopted-labels", name)
    source = Folder(_url(run.config), run.config.engine.storage_patience)
    task = ray.remote(_copy).options(**options(run.config.engine))

    def copy_the_rest() -> None:
        finished = done(receipts)
        left = [(n, f) for n, f in enumerate(theirs.files) if f"{n:06d}" not in finished]
        for first in range(0, len(left), run.config.engine.workers):
            some = left[first : first + run.config.engine.workers]
            wait([task.remote(source, target, receipts, f"{n:06d}.json", f) for n, f in some])

    persist(copy_the_rest, lambda: done(receipts), run.config.engine.max_attempts, emit, "copying labels")
    manifests.add_label_set(target, name, theirs)


def _unlike(run: Run, name: str, theirs: LabelSet) -> Iterator[str]:
    """In what the label set that the control is given is another one than this."""
    (mine,) = [s for s in (run.config.relabel.sets if run.config.relabel else []) if s.name == name]
    if theirs.teachers != [f"sha256:{record.sha256}" for record in records_of(run)]:
        yield "other teachers"
    if theirs.views != mine.views:
        yield f"{mine.views} views in place of {theirs.views}"
    if (theirs.codec.use, theirs.codec.settings()) != (codec(mine).name, codec(mine).settings):
        yield f"codec {mine.codec.use} in place of {theirs.codec.use}"
    if theirs.aug.size not in (None, run.config.data.image_size):
        yield f"views of {run.config.data.image_size} pixels in place of {theirs.aug.size}"


def _copy(source: Folder, target: Folder, receipts: Folder, receipt: str, file: LabelFile) -> None:
    written = target.write(file.path, read_checked(source, file))
    receipts.write_json(receipt, {"path": written.path, "sha256": written.sha256})


def _theirs(config: RunConfig) -> Manifest:
    return manifests.read(Folder(_url(config), config.engine.storage_patience))


def _url(config: RunConfig) -> str:
    return config.adopt.url if config.adopt else ""
