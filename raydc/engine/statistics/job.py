"""The statistics of one teacher: what they depend on, and where they lie.

A file is found by the digest of all that its bytes depend on, so runs that share a store share it exactly where each
would have made the same. The seed is part of that, for it draws the looks. A data set is known by the names and labels
of its images; where runs share a store, by some of their bytes as well, for two may differ in nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from raydc.config import digest
from raydc.engine.run import DATA, Run
from raydc.engine.statistics.units import CLASSES, IMAGES
from raydc.engine.weights import read_record
from raydc.plan.statistics import Needed
from raydc.sources.base import Source, Split
from raydc.sources.places import in_threads
from raydc.store.folder import Folder
from raydc.teachers.statistics import Layout, layout_of
from raydc.teachers.teacher import TeacherRecord

FORMAT = 2
"""Of the file and of the arithmetic that makes it: raised with every change of either."""
SUMS = "sums"
"""Where sums lie below the receipts, which are listed again and again."""
SAMPLE = 64
"""Images that are read to tell data sets of the same names apart."""


@dataclass(frozen=True)
class Job:
    """What is collected of one teacher."""

    run: Run
    needed: Needed
    teacher: TeacherRecord
    made_from: dict[str, Any]
    """All that the sums depend on."""

    @cached_property
    def layout(self) -> Layout:
        """The place of its layers in the vector."""
        return layout_of(self.teacher.arch, self.teacher.outputs, self.teacher.image_size, self.needed)

    @property
    def work(self) -> Folder:
        """The sums of its units, which hang on no precision, and their receipts."""
        return self.run.work("statistics", digest(self.made_from)[:16])

    @property
    def name(self) -> str:
        """Of its file and record in the store, without a suffix."""
        return digest([self.made_from, self.run.config.squeeze.statistics.precision])[:16]

    @property
    def store(self) -> Folder:
        """Where they lie when they are finished."""
        return store(self.run, self.run.config.squeeze.statistics.store)

    @property
    def finished(self) -> bool:
        """Whether the store has them."""
        return self.store.exists(f"{self.name}.json")

    def record(self) -> dict[str, Any]:
        """What the store says of them: ``file``, ``bytes``, ``sha256``, ``segments`` and what they were made from."""
        found: dict[str, Any] = self.store.read_json(f"{self.name}.json")
        return found


def own(run: Run) -> Folder:
    """What a run keeps of statistics: which ones it reads, and where no store is shared, these themselves."""
    return run.folder.child("statistics")


def store(run: Run, shared: str | None) -> Folder:
    """Where finished statistics lie: a folder that runs share, or the run's own."""
    return own(run) if shared is None else Folder(shared, run.config.engine.storage_patience)


def asked(wanted: Needed) -> dict[str, Any]:
    """What is to be collected of each teacher, as JSON."""
    return {k: v for k, v in asdict(wanted).items() if k != "teachers"}


def sampled(source: Source, split: Split) -> str:
    """A digest of the bytes of some images of a split, evenly spaced, and of the sizes of all that lie in shards.

    Raises:
        DataError: one of them cannot be read.
    """
    rows = np.linspace(0, len(split) - 1, min(SAMPLE, len(split))).astype(np.int64)
    sizes = hashlib.sha256(np.ascontiguousarray(split.size, dtype="<i8").tobytes()).hexdigest()
    found = in_threads(lambda row: source.raw(split, row), rows.tolist())
    return digest([sizes, *([len(data), hashlib.sha256(data).hexdigest()] for data in found)])


def jobs(run: Run, wanted: Needed, names: Sequence[str], source: Source) -> list[Job]:
    """What is collected of teachers that squeeze has committed; the run must know its data."""
    settings = run.config.squeeze.statistics
    data = {"data": run.folder.read_json(DATA)["fingerprint"]}
    if settings.store is not None:
        data["bytes"] = sampled(source, source.train)
    return [_job(run, wanted, name, data) for name in names]


def _job(run: Run, wanted: Needed, name: str, data: dict[str, str]) -> Job:
    teacher = read_record(run.teachers(), name)
    made_from = {
        "format": FORMAT,
        "units": [IMAGES, CLASSES],
        "seed": run.config.seed,
        "threads": run.config.engine.threads,
        **data,
        "teacher": teacher.model_dump(mode="json", include={"arch", "normalize", "sha256", "image_size"}),
        "needed": asked(wanted),
        "settings": run.config.squeeze.statistics.model_dump(mode="json", exclude={"store", "precision"}),
    }
    return Job(run, wanted, teacher, made_from)
