"""Results of students that several runs share, each under a digest of all that it depends on.

What a student on real data is worth hangs on the data, the protocol and the labelling teachers, and not on the method
that made the images beside it: the second run of a comparison finds the controls of the first. Condensed sets are kept
alike, by what they hold. Versions of libraries and the device are written down, and are not part of the digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import ray

from raydc.config import digest
from raydc.config.axes.execution import EAGER
from raydc.engine.ensemble import normalize_of, teacher_names
from raydc.engine.execution.labelling import labelling
from raydc.engine.receipts import present
from raydc.engine.run import DATA, Run, environment
from raydc.engine.statistics.job import sampled
from raydc.engine.weights import read_record
from raydc.errors import DataError
from raydc.sources.base import Source
from raydc.store import manifest as manifests
from raydc.store.folder import Folder
from raydc.store.manifest import Manifest
from raydc.students.feed import steps_per_epoch
from raydc.students.looks import draws_anew
from raydc.students.protocol import StudentJob

FORMAT = 2
"""Of the file, and of the arithmetic of students: raised with every change of either."""
LETTERS = 24
"""Of a digest that name a result."""

Jobs = Mapping[str, StudentJob]


@dataclass(frozen=True)
class Shelf:
    """The store of a run that shares one; without one nothing is taken and nothing is kept."""

    run: Run
    folder: Folder | None
    data: Mapping[str, str]
    """What tells the real data from others."""

    @staticmethod
    def of(run: Run, source: list[Any]) -> Shelf:
        """The store that a run names.

        Args:
            run: the run; it must know its data.
            source: the real data in the object store, in a list.
        """
        url = run.config.evaluate.store
        if url is None:
            return Shelf(run, None, {})
        found: Source = ray.get(source[0])
        bytes_of = {
            name: sampled(found, split) for name, split in (("train", found.train), ("tests", found.validation))
        }
        names = {"names": run.folder.read_json(DATA)["fingerprint"]}
        return Shelf(run, Folder(url, run.config.engine.storage_patience), names | bytes_of)

    def take(self, jobs: Jobs, emit: Callable[..., None]) -> set[str]:
        """Copy into the run what the store has of these jobs; the names of those.

        Raises:
            DataError: a file is not what its name says.
        """
        if self.folder is None or not jobs:
            return set()
        wanted = {name: self._name(job) for name, job in jobs.items()}
        there = present(self.folder, wanted.values())
        found = {name: at for name, at in wanted.items() if at in there}
        for name, at in found.items():
            kept = self.folder.read_json(f"{at}.json")
            if digest(kept.get("made_from"))[:LETTERS] != at:
                raise DataError(f"{self.folder.url}/{at}.json is not the result that its name says. Remove it")
            result = {**kept["result"], "kept_by": kept["run"], "kept_as": at}
            self.run.students().write_json(f"{name}.json", result)
        if found:
            emit("progress", text=f"{len(found)} of {len(jobs)} results found in {self.folder.url}")
        return set(found)

    def keep(self, jobs: Jobs) -> None:
        """Put what the run has of these jobs into the store, unless it is there."""
        if self.folder is None:
            return
        names = {self._name(job): name for name, job in jobs.items()}
        mine = present(self.run.students(), jobs)
        for at in names.keys() - present(self.folder, names):
            if names[at] not in mine:
                continue
            result = self.run.students().read_json(f"{names[at]}.json")
            about = {"run": self.run.config.name, "environment": environment()}
            self.folder.write_json(
                f"{at}.json", {"made_from": self.made_from(jobs[names[at]]), **about, "result": result}
            )

    @cached_property
    def _manifest(self) -> Callable[[str], Manifest]:
        """The manifest of a data set, read once: every student asks for it, and none changes while they learn."""
        return cache(lambda dataset: manifests.read(self.run.dataset(dataset)))

    def _name(self, job: StudentJob) -> str:
        return digest(self.made_from(job))[:LETTERS]

    def made_from(self, job: StudentJob) -> dict[str, Any]:
        """All that a student's numbers depend on."""
        config, images = self.run.config, self._manifest("condensed").images.count
        trained = config.engine.execution.evaluate
        return {
            "format": FORMAT,
            "data": dict(self.data),
            "seed": config.seed,
            "threads": config.engine.threads,
            "job": job.model_dump(mode="json", by_alias=True),
            "protocol": config.evaluate.effective(),
            "trials": config.evaluate.seeds[0] if config.evaluate.select else None,
            "steps": steps_per_epoch(images, config.evaluate.batch),
            "normalize": normalize_of(config).model_dump(mode="json"),
            "seen": self._seen(job),
            **({} if trained == EAGER.name else {"execution": trained}),
        }

    def _seen(self, job: StudentJob) -> dict[str, Any]:
        """The images of a student, the views of them and who labels these."""
        config, relabel, tree = self.run.config, self.run.config.relabel, dict[str, Any]()
        if job.data != "full":
            manifest = self._manifest(job.data)
            tree["dataset_id"] = manifest.dataset_id
            if job.stored:
                tree["labels"] = [file.sha256 for file in manifests.open_label_set(manifest, job.stored.set).files]
        own = draws_anew(config.evaluate, job.labels, job.augment)
        if not job.stored and not own and relabel is not None:
            tree["views"] = relabel.view.model_dump(mode="json")
        if not job.stored and job.labels == "soft" and relabel is not None:
            records = [read_record(self.run.teachers(), name) for name in teacher_names(config)]
            said = {"arch", "normalize", "sha256", "image_size"}
            tree["teachers"] = [r.model_dump(mode="json", include=said) for r in records]
            tree["ensemble"] = relabel.asked()["teachers"]
            tree |= {} if labelling(self.run) == EAGER else {"execution": labelling(self.run).name}
        return tree
