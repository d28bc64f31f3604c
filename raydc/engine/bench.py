"""A worker that trains students: what they share, and how several workers train one together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

from torch import distributed

from raydc.config.axes.execution import EXECUTIONS
from raydc.config.stages.evaluate import EvaluateConfig
from raydc.engine.device import device
from raydc.engine.ensemble import normalize_of, teachers
from raydc.engine.execution.labelling import labelling
from raydc.engine.labellers import Piece, Pool, by_labellers
from raydc.engine.live import LiveLabels, by_oneself, is_live, streamed
from raydc.engine.run import Run
from raydc.errors import DataError, Diverged
from raydc.sources.base import Source, Split
from raydc.sources.condensed import CondensedDataset
from raydc.sources.holdout import hold_out
from raydc.store import manifest as manifests
from raydc.students.feed import RealImages, StudentData, shown, steps_per_epoch
from raydc.students.protocol import StudentJob, train_student
from raydc.teachers.ensemble import Teachers
from raydc.teachers.feed import Images
from raydc.teachers.training import Training


class Bench:
    """What the students of one worker share: data sets, test images, and whoever labels as they learn."""

    def __init__(
        self,
        run: Run,
        source: Source,
        jobs: Mapping[str, StudentJob],
        settled: Callable[[StudentJob], EvaluateConfig],
        rank: int = 0,
        group: distributed.ProcessGroup | None = None,
        labellers: int = 0,
    ) -> None:
        """Prepare; nothing is read.

        Args:
            run: the run.
            source: the real data.
            jobs: the students, by the names of their results.
            settled: gives the protocol of each.
            rank: of this worker, for the record.
            group: of the workers that train each student together; None: alone.
            labellers: that label ahead of these students where labels are live; 0: the workers do it themselves.
        """
        self.run, self.source, self.jobs, self.settled = run, source, jobs, settled
        self.rank, self.group, self.labellers = rank, group, labellers
        self.leads = group is None or distributed.get_rank(group) == 0
        self.device = device(run.config.engine)
        self.data: dict[str, StudentData] = {}

    @cached_property
    def tests(self) -> Images:
        """The validation images."""
        return Images(self.source, self.source.validation)

    @cached_property
    def parted(self) -> tuple[Split, Split]:
        """The training images without those that judge trials, and these."""
        select = self.run.config.evaluate.select
        if select is None:
            raise ValueError("nothing is selected, so nothing is held out")
        return hold_out(self.source.classes, self.source.train, select.fraction, self.run.key.child("select"))

    @cached_property
    def trial_tests(self) -> Images:
        """The training images that judge trials."""
        return Images(self.source, self.parted[1])

    @cached_property
    def teachers(self) -> Teachers:
        """The labelling teachers."""
        return teachers(self.run, self.device, labelling(self.run))

    @cached_property
    def pool(self) -> Pool | None:
        """The labellers of this worker, if it has any and receives from them."""
        return Pool(self.run, self.labellers, len(self.source.classes)) if self.leads and self.labellers else None

    @cached_property
    def reference(self) -> int:
        """Images of the condensed set."""
        return manifests.read(self.run.dataset("condensed")).images.count

    def close(self) -> None:
        """Let the labellers go."""
        if self.pool is not None:
            self.pool.close()

    def train(self, name: str, following: Sequence[str] = ()) -> None:
        """Train one student to its end and write its result; goes on from its checkpoint if it has one.

        Args:
            name: of its result.
            following: the names of those that this worker trains after it.
        """
        finished, state = self._begun(name)
        if finished:
            return
        folder, states, job = self.run.students(), self.run.work("students"), self.jobs[name]
        protocol = self.settled(job)
        training = self._training(job, protocol, state)
        if self.pool is not None and streamed(self.run.config, job):
            later = (self._pieces(self.jobs[n], 0) for n in following if streamed(self.run.config, self.jobs[n]))
            self.pool.begin(chain(self._pieces(job, training.fit.steps), chain.from_iterable(later)))
        began = saved = time.time()
        try:
            for _ in training:
                if self.leads and time.time() - saved > self.run.config.engine.checkpoint_seconds:
                    states.write(f"{name}.safetensors", training.state())
                    states.write_json(f"{name}.json", {"epoch": training.records[-1].epoch})
                    saved = time.time()
            found = training.result()
            if job.lr is None:
                found["by_class"] = training.by_class(len(self.source.classes))
        except Diverged:  # on all workers of a group at once, for they have one loss
            if job.lr is None:
                raise
            found = {"top1_last": 0.0, "diverged": True}  # a rate that is not to be chosen
        if not self.leads:
            return
        result = {
            **found,
            "lr": protocol.optimizer.lr,
            "execution": self.run.config.engine.execution.evaluate,
            "records": [r.model_dump() for r in training.records],
            "wall_s": training.seconds,
            "input_s": training.waited,
            "began": began,
            "worker": f"rank {self.rank}",
        }
        folder.write_json(f"{name}.json", result)
        for ending in ("safetensors", "json"):
            states.remove(f"{name}.{ending}")

    def _begun(self, name: str) -> tuple[bool, bytes | None]:
        """Whether a student is finished, and its last state: what the first worker of the group sees, for all.

        A worker that was given up may write both at any moment, and no two must go on from different states.
        """
        found: list[Any] = [self._found(name) if self.leads else None]
        if self.group is not None:
            first = distributed.get_global_rank(self.group, 0)
            distributed.broadcast_object_list(found, src=first, group=self.group, device=self.device)
        finished, state = found[0]
        return bool(finished), state

    def _found(self, name: str) -> tuple[bool, bytes | None]:
        folder, states = self.run.students(), self.run.work("students")
        if folder.exists(f"{name}.json"):
            return True, None
        try:
            return False, states.read(f"{name}.safetensors") if states.exists(f"{name}.safetensors") else None
        except DataError:
            if folder.exists(f"{name}.json"):  # a worker that was given up has ended it just now
                return True, None
            raise

    def _training(self, job: StudentJob, protocol: EvaluateConfig, state: bytes | None) -> Training:
        config = self.run.config
        return train_student(
            job,
            self._labelled(job),
            self.tests if job.lr is None else self.trial_tests,
            protocol,
            self.run.key,
            classes=len(self.source.classes),
            image_size=config.data.image_size,
            reference=self.reference,
            views=config.relabel.view if config.relabel else None,
            normalize=normalize_of(config),
            device=self.device,
            state=state,
            labeller=self.teachers.logits if self._by_batch(job) else None,
            group=self.group,
            execution=EXECUTIONS[config.engine.execution.evaluate],
        )

    def _by_batch(self, job: StudentJob) -> bool:
        """Whether teachers answer each batch as the student sees it: views that belong to no label set."""
        return job.labels == "soft" and job.stored is None and not is_live(self.run.config, job)

    def _opened(self, job: StudentJob) -> StudentData:
        """The images of a job, with whatever labels."""
        name = "part" if job.data == "full" and job.lr is not None else job.data
        if name not in self.data:
            self.data[name] = (
                RealImages(Images(self.source, self.parted[0] if name == "part" else self.source.train))
                if job.data == "full"
                else CondensedDataset(self.run.dataset(job.data))
            )
        return self.data[name]

    def _labelled(self, job: StudentJob) -> StudentData:
        """The images of a job with what labels them."""
        data = self._opened(job)
        if not isinstance(data, CondensedDataset):
            return data
        if job.stored:
            return data.labelled(job.stored.set, job.stored.views, job.stored.draw)
        bare = data.labelled_by(None)
        if not is_live(self.run.config, job):
            return bare
        # For each student anew: what one has asked for, the stream must bring to the next again.
        classes, part = len(self.source.classes), (self.device, self.group)
        answer = (
            by_labellers(self.pool, job.data, classes, *part)
            if self.labellers
            else by_oneself(self.run, job.data, bare, lambda: self.teachers, *part)
        )
        return bare.labelled_by(LiveLabels(self.run, job.data, bare, answer))

    def _pieces(self, job: StudentJob, first: int) -> Iterator[Piece]:
        """What a student asks of the labellers from a step on."""
        data, protocol = self._labelled(job), self.run.config.evaluate
        if isinstance(data, CondensedDataset):
            last = protocol.epochs * steps_per_epoch(self.reference, protocol.batch)
            for shard, view in shown(data, protocol.batch, job.seed, first, last):
                yield Piece(job.data, shard, view, data.manifest.images.files[shard].samples)
