"""The selection pass: what is taken of the real images of each class, where a teacher chooses it.

A unit is a small range of classes; its receipt holds their picks. Receipts lie under a digest of all that the picks
depend on, so that a pass begun by one driver is ended by another, and nothing is scored twice. Afterwards blocks are
made in any order, on any worker, from the picks of their classes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Any

import torch

from raydc.condense.guide import Guide
from raydc.condense.initialize import SCORED, Pick
from raydc.condense.space import Space
from raydc.config import digest
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.engine.context import working_on
from raydc.engine.device import device
from raydc.engine.gallery import SourceGallery
from raydc.engine.receipts import done, stamp
from raydc.engine.run import Run
from raydc.engine.weights import read_record, teacher
from raydc.engine.worker import Worker, through
from raydc.errors import DataError
from raydc.store.faults import clean
from raydc.store.folder import Folder
from raydc.teachers.teacher import TeacherRecord

FORMAT = 1
"""Of a receipt and of the arithmetic that makes it: raised with every change of either."""
CLASSES = 4
"""Classes of a unit: few, so that ten of them keep three workers busy and a killed one loses little."""
KEPT = 64
"""Units whose picks a process keeps in memory. Blocks go through the classes in order, so a few would do."""


@dataclass(frozen=True)
class Work:
    """A unit of the queue: some classes of one range."""

    dataset: str
    name: str
    classes: tuple[int, ...]

    @property
    def id(self) -> str:
        """Unique over all units of a stage, blocks included."""
        return f"{self.dataset}/selection/{self.name}"


def scorer(run: Run, config: SynthesizeConfig) -> str:
    """The name of the teacher that chooses: the initializer's own, or the first one that guides the pixels."""
    named: str | None = getattr(config.initialize, "teacher", None)
    return named or run.config.guides[0]


def receipts(run: Run, config: SynthesizeConfig) -> Folder:
    """Where the receipts of a selection lie: other settings or another teacher never take them for their own."""
    record = _record(run.teachers(), scorer(run, config))
    made_by = {
        "format": FORMAT,
        "classes": CLASSES,
        "initialize": config.initialize.model_dump(mode="json", by_alias=True),
        "ipc": config.ipc,
        "image_size": run.config.data.image_size,
        "seed": run.config.seed,
        "teacher": record.model_dump(mode="json", include={"sha256", "normalize", "columns"}),
    }
    return run.work("selection", digest(made_by)[:16])


@lru_cache(maxsize=KEPT)
def _record(folder: Folder, name: str) -> TeacherRecord:
    """A teacher's record, read once a process: it is asked for with every image of a block."""
    return read_record(folder, name)


def picks(run: Run, config: SynthesizeConfig, label: int) -> list[Pick] | None:
    """What was chosen for the images of a class; None where the first pixels need no choice.

    Raises:
        DataError: the selection pass has not come to this class.
    """
    if config.initialize.use not in SCORED:
        return None
    folder, name = receipts(run, config), _unit(label)
    found = _read(folder, name)
    if label not in found:
        where = f"{clean(folder.url)}/{name}.json"
        raise DataError(f"{where} lacks the picks of class {label}. Remove it, and run synthesize again")
    return found[label]


@lru_cache(maxsize=KEPT)
def _read(folder: Folder, name: str) -> dict[int, list[Pick]]:
    """The picks of a unit; what lies under the digest of its making is never written again."""
    found = folder.read_json(f"{name}.json")["picks"]
    return {int(label): [Pick(*values) for values in rows] for label, rows in found.items()}


def _unit(label: int) -> str:
    """The unit of a class, named by the first class of its range."""
    return f"c{label - label % CLASSES:06d}"


def units(dataset: str, classes: Iterable[int]) -> list[Work]:
    """The canonical units of some classes."""
    ranges: dict[str, list[int]] = {}
    for label in sorted(set(classes)):
        ranges.setdefault(_unit(label), []).append(label)
    return [Work(dataset, name, tuple(labels)) for name, labels in ranges.items()]


def select(
    run: Run,
    dataset: str,
    config: SynthesizeConfig,
    classes: Iterable[int],
    source: list[Any],
    emit: Callable[..., None],
) -> None:
    """Choose for every class that has no picks yet, on a pool of actors; nothing to do where nothing is scored.

    It opens the stage anew for its own units, so whoever goes on to others says their number afterwards.

    Raises:
        DataError, ClusterError: some units failed for good; the others are done.
    """
    if config.initialize.use not in SCORED:
        return
    _record.cache_clear()  # another run may have lain in this folder while this process lived
    wanted = units(dataset, classes)
    finished = done(receipts(run, config))
    todo = [work for work in wanted if work.name not in finished]
    if not todo:
        return
    emit("stage_started", total=len(wanted), done=len(wanted) - len(todo), unit="selection")
    through(Selector, (run, config, source), todo, run.config.engine, emit, "selection")


class Selector(Worker):
    """The actor. The teacher is loaded with the first unit."""

    def __init__(self, run: Run, config: SynthesizeConfig, source: list[Any]) -> None:
        Worker.__init__(self, run, source)  # Ray copies the class, so that super() does not know it
        self.config = config
        self.guide: Guide | None = None
        self.far = 0.0

    def progress(self) -> float:
        """How much of the unit in flight is done, from 0 to 1."""
        return self.far

    def run(self, work: Work) -> dict[str, Any] | None:
        """Choose for the classes of a unit and commit them; None if it was handed back. Returns a receipt."""
        self.far = 0.0
        named = [self.source.classes[label] for label in work.classes] if self.source else list(work.classes)
        with working_on(self.job, f"selection {work.name} of {work.dataset}", "synthesize.initialize", named):
            return self._run(work)

    def _run(self, work: Work) -> dict[str, Any] | None:
        began, folder, name = time.time(), receipts(self.job, self.config), f"{work.name}.json"
        if folder.exists(name):  # a worker that was given up, or a copy, came to the end of it
            return dict(folder.read_json(name)["meta"])
        found: dict[int, list[Pick]] = {}
        for label in work.classes:
            if self.leaving.is_set():
                return None
            found[label] = self.choose(label)
            self.far = len(found) / len(work.classes)
        rows = {str(label): [astuple(pick) for pick in chosen] for label, chosen in found.items()}
        if folder.exists(name):  # blocks may have been made of it, and near ties may rank otherwise on another device
            return dict(folder.read_json(name)["meta"])
        meta = {
            **stamp(began),
            "image_steps": 0,
            "bytes": len(json.dumps(rows)),
        }
        folder.write(name, json.dumps({"picks": rows, "meta": meta}, allow_nan=False).encode())
        return meta

    def choose(self, label: int) -> list[Pick]:
        """The picks of a class.

        Raises:
            DataError: no real images, or such as cannot be chosen from.
        """
        if self.source is None:
            raise DataError("the first pixels are chosen from real images, and data.use is 'none'")
        run, config = self.job, self.config
        if self.guide is None:
            self.guide = guide(run, scorer(run, config), device(run.config.engine))
        component, size = SCORED[config.initialize.use], run.config.data.image_size
        gallery = SourceGallery(self.source)
        try:
            return component.choose(config.initialize, run.key, label, config.ipc, size, gallery, self.guide)
        except ValueError as error:
            raise DataError(str(error)) from error


def guide(run: Run, name: str, place: torch.device) -> Guide:
    """A squeezed teacher that scores: its answers alone count, so it comes without statistics."""
    taught = teacher(run, name, place)
    normalize = taught.record.normalize
    return Guide(taught.module, taught.pick, Space(normalize.mean, normalize.std, place))
