"""The relabel stage: a Ray Data pipeline from image shards to label shards.

A row is a shard descriptor; an actor (``labeler.py``) labels the shard for all label sets and commits them. With
``mode: live`` nothing is stored: the same teachers label views without end while students learn (``live.py``).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

from raydc.condense.views import SAMPLER
from raydc.config.stages.relabel import LabelSetConfig
from raydc.engine.ensemble import stored, teacher_names
from raydc.engine.execution.labelling import labelling
from raydc.engine.execution.settle import settle_labelling
from raydc.engine.failures import persist
from raydc.engine.labeler import Labeler, codec, receipts, records_of, settings, unit
from raydc.engine.pipeline import through
from raydc.engine.receipts import done, present, watched
from raydc.engine.run import Run
from raydc.errors import ConfigError
from raydc.labels.codecs import Codec, describe
from raydc.labels.views import COLUMNS, VERSION
from raydc.sources.places import in_threads
from raydc.store.folder import Folder
from raydc.store.manifest import LabelFile, LabelSet, add_label_set, read
from raydc.store.schema import Aug, CodecName, Executed

Shard = tuple[str, int]
"""A data set, and the number of one of its shards."""


def labelled(run: Run) -> bool:
    """Whether the product has all the labels that this run stores."""
    if not stored(run.config):
        return True
    return {s.name for s in settings(run).sets} <= read(run.dataset("condensed")).label_sets.keys()


def relabel(run: Run, datasets: list[str], start: Callable[..., None], emit: Callable[..., None]) -> None:
    """Add the run's label sets to each data set that lacks them; with ``mode: live`` there is nothing to add.

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
    settle_labelling(run, emit)
    sets = settings(run).sets
    shards = [(d, s) for d in datasets for s in range(len(read(run.dataset(d)).images.files))]
    for dataset in datasets:
        for s in sets:
            _check_name(run, dataset, s, [unit(d, n) for d, n in shards if d == dataset])
    folders = [receipts(run, s) for s in sets]
    finished = _finished(folders)
    start(len(shards), sum(unit(d, s) in finished for d, s in shards), "shard")

    units = {unit(d, s) for d, s in shards}
    # All sets of a shard get their receipts together, in this order: the last one that lacks some tells of progress.
    watching = next((folder for folder in reversed(folders) if units - done(folder)), folders[-1])

    def report(shard: str) -> None:
        meta = watching.read_json(f"{shard}.json")["meta"]
        emit("unit_done", unit=shard, **meta)

    def label_the_rest() -> None:
        left = _finished(folders)
        rows = [{"dataset": d, "shard": s} for d, s in shards if unit(d, s) not in left]
        if rows:
            through(rows, Labeler, (run,), run.config.engine, emit, "labelling", "shards could not be labelled")

    with watched(watching, done(watching), report):
        persist(label_the_rest, lambda: [done(f) for f in folders], run.config.engine.max_attempts, emit, "labelling")
    for dataset in datasets:
        for s in sets:
            if s.name not in read(run.dataset(dataset)).label_sets:
                add_label_set(run.dataset(dataset), s.name, label_set(run, dataset, s))


def _finished(folders: list[Folder]) -> set[str]:
    """The shards that every label set has."""
    return set.intersection(*map(done, folders))


def _check_name(run: Run, dataset: str, made: LabelSetConfig, shards: list[str]) -> None:
    """Refuse a name that the data set's other labels bear."""
    if made.name in read(run.dataset(dataset)).label_sets and present(receipts(run, made), shards) != set(shards):
        raise ConfigError(
            f"data set '{dataset}' has a label set '{made.name}' that was made with other settings. "
            "Give the new one a name of its own: relabel.name"
        )


def summary(run: Run, datasets: list[str]) -> str:
    """One line about the labels."""
    config = settings(run)
    if not config.sets:
        return f"nothing is stored: {', '.join(teacher_names(run.config))} label while students learn"
    found = [read(run.dataset(d)).label_sets for d in datasets]
    sizes = {s.name: sum(f.bytes for sets in found for f in sets[s.name].files) for s in config.sets}
    made = {s.name: found[0][s.name] for s in config.sets}
    return "; ".join(f"{n}: {s.views} views, {s.codec.use}, {sizes[n] / 1e6:.1f} MB" for n, s in made.items())


def label_set(run: Run, dataset: str, made: LabelSetConfig) -> LabelSet:
    """The manifest's entry of a data set's labels, from the receipts of its shards."""
    records, folder = records_of(run), receipts(run, made)
    shards = len(read(run.dataset(dataset)).images.files)
    found = in_threads(folder.read_json, [f"{unit(dataset, s)}.json" for s in range(shards)])
    files = [LabelFile.model_validate(f) for r in found for f in r["files"]]
    whole = described(codec(made), records[0].classes, run.config.data.image_size, made.views, files)
    by = [f"sha256:{record.sha256}" for record in records]
    measured = {"fidelity": _mean_fidelity(found), "execution": _executed(run, found)}
    return whole.model_copy(update={"teachers": by, **measured})


def described(codec: Codec, classes: int, size: int, views: int, files: list[LabelFile]) -> LabelSet:
    """A label set made of stored images by the sampler and the decoder of this machine.

    Args:
        codec: of its rows.
        classes: in a row.
        size: side of a view in pixels.
        views: of every image.
        files: that hold them.
    """
    return LabelSet(
        views=views,
        codec=CodecName(use=codec.name, version=codec.version, **codec.settings),
        row_bytes=codec.row_dtype(classes).itemsize,
        row_dtype=describe(codec, classes),
        aug=Aug(version=VERSION, columns=list(COLUMNS), sampler=SAMPLER, size=size),
        labelled="decoded stored images",
        decoder=f"Pillow {importlib.metadata.version('pillow')}",
        files=files,
    )


def _executed(run: Run, found: list[dict[str, Any]]) -> Executed:
    """How the teachers were run, and the mean over images of what shards have found that to change."""
    how, near = labelling(run), [r["execution"] for r in found if r.get("execution")]
    if not near:
        return Executed(name=how.name)
    images = sum(n["images"] for n in near)
    same = sum(n["agreement"] * n["images"] for n in near) / images
    lost = _mean_fidelity([{"fidelity": n["fidelity"], "count": n["images"]} for n in near])
    return Executed(name=how.name, fidelity=lost, agreement=same, images=images)


def _mean_fidelity(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The mean over images of what shards have measured."""
    total = sum(r["count"] for r in found)
    return {
        at: {what: sum(r["fidelity"][at][what] * r["count"] for r in found) / total for what in numbers}
        for at, numbers in found[0]["fidelity"].items()
    }
