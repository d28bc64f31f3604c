"""The statistics that a run reads: their record is kept in the run's own folder, and holds to its end.

A store may be shared, and two runs may make what belongs under one name, on two kinds of device say. Whoever comes
second finds the record of the first; and whatever becomes of the store, a run reads the file of its own record, by
digest, so that no two of its blocks see different targets.
"""

from __future__ import annotations

from typing import Any

from raydc.condense.statistics import Segment, Statistics
from raydc.engine.run import Run
from raydc.engine.statistics.job import Job, asked, own, store
from raydc.engine.weights import read_record, tensors
from raydc.errors import DataError
from raydc.plan.statistics import Needed, needed
from raydc.report.units import bytes_text
from raydc.store.faults import clean


def pinned(run: Run, wanted: Needed, name: str) -> dict[str, Any] | None:
    """The record that this run reads of a teacher; None where it has none yet, or one of another teacher."""
    folder, file = own(run), f"{name}.json"
    if not folder.exists(file):
        return None
    found: dict[str, Any] = folder.read_json(file)
    made_from, sha256 = found["made_from"], read_record(run.teachers(), name).sha256
    return found if (made_from["teacher"]["sha256"], made_from["needed"]) == (sha256, asked(wanted)) else None


def there(run: Run, wanted: Needed, name: str) -> bool:
    """Whether a run has the statistics of a teacher, so that nothing is left to do."""
    found = pinned(run, wanted, name)
    return found is not None and (found["file"] is None or store(run, found["store"]).exists(found["file"]))


def pin(job: Job) -> None:
    """Keep the record that the store has of a teacher.

    Raises:
        DataError: this run began with others, which are lost.
    """
    shared = job.run.config.squeeze.statistics.store
    name, found = job.teacher.name, {"store": shared, **job.record()}
    before = pinned(job.run, job.needed, name)
    if before is not None and before["sha256"] != found["sha256"]:
        folder = own(job.run)
        raise DataError(
            f"the statistics of teacher '{name}' that this run began with are lost "
            f"({clean(store(job.run, before['store']).url)}/{before['file']}), and those that were found instead have "
            f"SHA-256 {found['sha256'][:12]}..., not {before['sha256'][:12]}.... Restore the file; or remove "
            f"{clean(folder.url)}/{name}.json and all blocks of the run"
        )
    if before != found:
        own(job.run).write_json(f"{name}.json", found)


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
    record = _record(run, wanted, name)
    if record["file"] is None:
        return None
    held = tensors(store(run, record["store"]), record["file"], record["sha256"])
    return Statistics([Segment(*s) for s in record["segments"]], record["tile"], held["whole"], held.get("classes"))


def described(run: Run) -> str:
    """One line about the statistics of a run; empty where it needs none."""
    wanted = needed(run.config)
    if wanted is None:
        return ""
    found = [_record(run, wanted, name) for name in wanted.teachers]
    numbers = sum(s[1] + s[2] for record in found for s in record["segments"])
    of = f"{found[0]['classes']:,} classes" if wanted.classes else "all data"
    size = bytes_text(sum(record["bytes"] for record in found))
    return f"statistics of {of} at {numbers:,} channels and tiles, {size}"


def _record(run: Run, wanted: Needed, name: str) -> dict[str, Any]:
    found = pinned(run, wanted, name)
    if found is None:
        raise DataError(
            f"there are no statistics of the real data under teacher '{name}' ({clean(own(run).url)}/{name}.json). "
            "Run `raydc squeeze` first, or `raydc run` for all stages"
        )
    return found
