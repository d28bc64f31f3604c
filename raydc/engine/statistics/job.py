"""The statistics of one teacher: what they depend on, where they lie, and how they are read.

A file is found by the digest of all that its bytes depend on, so runs that share a store share it exactly where each
would have made the same. The seed is part of that, for it draws the views.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from raydc.condense.statistics import Segment, Statistics
from raydc.condense.views import SAMPLER
from raydc.config import digest
from raydc.engine.run import DATA, Run
from raydc.engine.statistics.units import CLASSES, IMAGES
from raydc.engine.weights import read_record, tensors
from raydc.errors import DataError
from raydc.keys import Key
from raydc.labels.views import VERSION
from raydc.plan.statistics import Needed, needed
from raydc.report.units import bytes_text
from raydc.store.faults import clean
from raydc.store.folder import Folder
from raydc.teachers.statistics import Layout, layout_of
from raydc.teachers.teacher import TeacherRecord

FORMAT = 1
"""Of the file and of the arithmetic that makes it: raised with every change of either."""
SUMS = "sums"
"""Where sums lie below the receipts, which are listed again and again."""


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
    def key(self) -> Key:
        """Of its views."""
        return self.run.key.child("statistics", self.teacher.sha256)

    @property
    def work(self) -> Folder:
        """The sums of its units, which hang on no precision, and their receipts."""
        return self.run.work("statistics", digest(self.made_from)[:16])

    @property
    def name(self) -> str:
        """Of its file and record in the store, without a suffix."""
        return digest([self.made_from, self.run.config.squeeze.statistics.precision])[:16]

    @property
    def finished(self) -> bool:
        """Whether the store has them."""
        return store(self.run).exists(f"{self.name}.json")

    def record(self) -> dict[str, Any]:
        """What the store says of them: ``file``, ``bytes``, ``sha256``, ``segments`` and what they were made from."""
        found: dict[str, Any] = store(self.run).read_json(f"{self.name}.json")
        return found


def store(run: Run) -> Folder:
    """Where finished statistics lie: the run's own folder, or one that runs share."""
    shared = run.config.squeeze.statistics.store
    if shared is None:
        return run.folder.child("statistics")
    return Folder(shared, run.config.engine.storage_patience)


def job(run: Run, wanted: Needed, name: str) -> Job:
    """What is collected of a teacher that squeeze has committed; the run must know its data."""
    teacher = read_record(run.teachers(), name)
    made_from = {
        "format": FORMAT,
        "views": [VERSION, SAMPLER],
        "units": [IMAGES, CLASSES],
        "seed": run.config.seed,
        "threads": run.config.engine.threads,
        "data": run.folder.read_json(DATA)["fingerprint"],
        "teacher": teacher.model_dump(mode="json", include={"arch", "normalize", "sha256", "image_size"}),
        "needed": {k: v for k, v in asdict(wanted).items() if k != "teachers"},
        "settings": run.config.squeeze.statistics.model_dump(mode="json", exclude={"store", "precision"}),
    }
    return Job(run, wanted, teacher, made_from)


def statistics_of(run: Run, name: str) -> Statistics | None:
    """The statistics of the real data under a teacher, its classes as pages of a file that the workers of a node share.

    Returns:
        None where the objective asks for none, or the teacher has no layer that it looks at.

    Raises:
        DataError: they were not collected, or their file is not what was written.
    """
    wanted = needed(run.config)
    if wanted is None or name not in wanted.teachers:
        return None
    found, folder = job(run, wanted, name), store(run)
    if not found.finished:
        raise DataError(
            f"there are no statistics of the real data under teacher '{name}' ({clean(folder.url)}/{found.name}.json). "
            "Run `raydc squeeze` first, or `raydc run` for all stages"
        )
    record = found.record()
    if record["file"] is None:
        return None
    held = tensors(folder, record["file"], record["sha256"])
    return Statistics([Segment(*s) for s in record["segments"]], record["tile"], held["whole"], held.get("classes"))


def described(run: Run) -> str:
    """One line about the statistics of a run; empty where it needs none."""
    wanted = needed(run.config)
    if wanted is None:
        return ""
    found = [job(run, wanted, name).record() for name in wanted.teachers]
    numbers = sum(s[1] + s[2] for record in found for s in record["segments"])
    of = f"{found[0]['classes']:,} classes" if wanted.classes else "all data"
    size = bytes_text(sum(record["bytes"] for record in found))
    return f"statistics of {of} at {numbers:,} channels and tiles, {size}"
