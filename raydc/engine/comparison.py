"""Runs gathered for a comparison: their scores, what their images took, and a picture of each class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from raydc.config import digest
from raydc.engine.ensemble import teacher_names
from raydc.engine.run import Run, read_run
from raydc.errors import DataError
from raydc.report.comparison import Compared
from raydc.report.events import read_events
from raydc.sources.condensed import CondensedDataset

OTHERS = ("data", "labels", "augment", "verifiers", "workers", "split", "store")
"""Settings of an evaluation that change no student's score."""
CLASSES = 10
"""Classes of which a picture is shown."""


def gather(urls: Sequence[str]) -> list[Compared]:
    """Read runs that are done.

    Raises:
        ConfigError: a folder is none of a run.
        DataError: a run has not come to its end.
    """
    return [_gathered(read_run(url)) for url in urls]


def _gathered(run: Run) -> Compared:
    if not run.folder.exists("metrics.json"):
        raise DataError(f"run {run.url} has no metrics.json: it was not evaluated. Run `raydc run` on it first")
    metrics = run.folder.read_json("metrics.json")
    data = CondensedDataset(run.dataset("condensed").url)
    return Compared(
        name=run.config.name,
        title=run.config.method.title or run.config.method.name,
        evaluations=metrics["evaluations"],
        protocol=protocol(run),
        seconds=_worker_seconds(run) / len(data),
        pictures=sorted(_pictures(data), key=lambda shown: data.classes.index(shown[0])),
    )


def protocol(run: Run) -> str:
    """A digest of what decides a score beside the images: the same for runs that may be compared."""
    tree = run.config.model_dump(mode="json", by_alias=True)
    judged = {k: v for k, v in tree["evaluate"].items() if k not in OTHERS}
    relabel = run.config.relabel
    kept = [s.model_dump(mode="json", exclude={"name"}) for s in relabel.sets] if relabel else []
    labels = relabel and [relabel.mode, relabel.asked(), kept]
    labellers = set(teacher_names(run.config))
    taught = [t for t in tree["squeeze"]["teachers"] if t["name"] in labellers]
    return digest([tree["data"], taught, labels, judged, tree["pack"], tree["synthesize"]["ipc"], tree["seed"]])


def _worker_seconds(run: Run) -> float:
    """What workers spent on the product: its blocks, and the selection before them."""
    ended = [e for e in read_events(run.folder) if e["kind"] == "unit_done" and e.get("stage") == "synthesize"]
    return sum(e["seconds"] for e in ended if not str(e["unit"]).startswith("random"))


def _pictures(data: CondensedDataset) -> Iterator[tuple[str, np.ndarray]]:
    """The first image that is found of each of some classes."""
    seen: set[int] = set()
    for row in range(len(data)):
        image, label, _, _ = data[row]
        if label not in seen:
            yield data.classes[label], image
            seen.add(label)
        if len(seen) == min(CLASSES, len(data.classes)):
            return
