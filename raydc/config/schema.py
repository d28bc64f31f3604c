"""The configuration of a run: stages as sections, every field typed, unknown keys refused."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import model_validator

from raydc.config.base import Name, Strict
from raydc.config.stages.adopt import AdoptConfig
from raydc.config.stages.data import DataConfig
from raydc.config.stages.engine import EngineConfig
from raydc.config.stages.evaluate import EvaluateConfig
from raydc.config.stages.pack import PackConfig
from raydc.config.stages.relabel import RelabelConfig
from raydc.config.stages.squeeze import SqueezeConfig, TeacherConfig
from raydc.config.stages.synthesize import SynthesizeConfig


class MethodCard(Strict):
    """Who published the method, for people and reports; no behaviour hangs on it."""

    name: Name
    title: str = ""
    paper: str = ""
    note: str = ""


class RunConfig(Strict):
    """One run: a data set, a method and a scale."""

    name: Name
    output: str | None = None
    """The run folder, any fsspec URL; absent: ``runs/<name>``."""
    seed: int = 0
    method: MethodCard
    data: DataConfig
    squeeze: SqueezeConfig
    synthesize: SynthesizeConfig
    adopt: AdoptConfig | None = None
    """A condensed set that is judged as it is; nothing is synthesized then."""
    pack: PackConfig = PackConfig()
    relabel: RelabelConfig | None = RelabelConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    engine: EngineConfig = EngineConfig()

    @property
    def guides(self) -> list[str]:
        """The names of the teachers that guide the pixels, in order."""
        return self.synthesize.teachers.pick([t.name for t in self.squeeze.teachers])

    @property
    def label_sets(self) -> list[str]:
        """The names of the label sets that the run stores."""
        return [s.name for s in self.relabel.sets] if self.relabel else []

    @property
    def teachers(self) -> list[TeacherConfig]:
        """The frozen networks that this run cannot do without: a set that is adopted needs those that label, if any."""
        if self.adopt is None:
            return self.squeeze.teachers
        if self.relabel is None or not self.soft:
            return []
        names = self.relabel.teachers.pick([t.name for t in self.squeeze.teachers])
        return [t for t in self.squeeze.teachers if t.name in names]

    @property
    def soft(self) -> bool:
        """Whether any student learns from soft labels."""
        return bool(self.evaluate.students) and "soft" in self.evaluate.labels

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        problems = [*self._unknown_teachers(), *self._without_images(), *self._contradictions()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _unknown_teachers(self) -> Iterator[str]:
        """Teachers that are asked for and are not there."""
        known = [t.name for t in self.squeeze.teachers]
        start = getattr(self.synthesize.initialize, "teacher", None)
        wanted = {
            "synthesize.teachers.names": self.synthesize.teachers.names or [],
            "synthesize.initialize.teacher": [start] if start else [],
            "relabel.teachers.names": (self.relabel.teachers.names or []) if self.relabel else [],
        }
        for place, names in wanted.items():
            for name in names:
                if name not in known:
                    yield f"{place} has '{name}', but squeeze.teachers are {known}"

    def _without_images(self) -> Iterator[str]:
        """What needs real images where there are none."""
        if self.data.use != "none":
            return
        for teacher in self.squeeze.teachers:
            if teacher.train:
                yield f"data.use is 'none', but squeeze.teachers.{teacher.name} is to be trained on it"
        if self.synthesize.initialize.use != "noise":
            yield f"data.use is 'none', so synthesize.initialize cannot be '{self.synthesize.initialize.use}'"
        for term in self.synthesize.objective:
            if term.weight and (term.use == "conv_statistics" or getattr(term, "category", 0)):
                yield f"data.use is 'none': synthesize.objective {term.use} needs statistics of real images"
        if self.evaluate.students:
            yield "data.use is 'none': students cannot be tested; set evaluate.students to []"

    def _contradictions(self) -> Iterator[str]:
        """Sections that do not go together."""
        synth = self.synthesize
        if synth.classes is not None and self.evaluate.students:
            yield ("synthesize.classes leaves classes out, but evaluate.students would be tested on all; name the "
                   "classes in data.subset, or set evaluate.students to []")  # fmt: skip
        if self.relabel is None and self.evaluate.students and "soft" in self.evaluate.labels:
            yield "evaluate.labels has 'soft' but relabel is null; remove one of them"
        judged = self.evaluate
        by_batch = "soft" in judged.labels and ("full" in judged.data or "none" in judged.augment)
        if judged.split > 1 and by_batch and self.relabel and self.relabel.teachers.together:
            yield (f"evaluate.split is {judged.split}, but labels of full data and of whole images are made batch by "
                   "batch, and these teachers' answers depend on the whole of it; set evaluate.split to 1, or "
                   "relabel.teachers to norm: running and combine: mean")  # fmt: skip
        trained = self.engine.execution.evaluate
        if judged.split > 1 and trained != "eager":
            yield (
                f"evaluate.split is {judged.split}; workers that train a student together do so eagerly in fp32: "
                f"set engine.execution.evaluate ({trained}) to eager, or evaluate.split to 1"
            )
        if self.engine.blocks_per_launch > 1 and synth.teachers.sampling == "random":
            yield (
                f"engine.blocks_per_launch is {self.engine.blocks_per_launch}, but with synthesize.teachers.sampling "
                "random each block draws a teacher of its own; set it to 1, or sample round_robin"
            )
        if synth.stages and synth.stages.sizes[-1] != self.data.image_size:
            yield (f"synthesize.stages.sizes ends with {synth.stages.sizes[-1]}, but data.image_size is "
                   f"{self.data.image_size}; the last stage makes the images that are kept")  # fmt: skip

    @property
    def folder(self) -> str:
        """The run folder's URL."""
        return self.output or f"runs/{self.name}"
