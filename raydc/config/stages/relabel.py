"""The relabel section: soft labels, the teachers' logits for views of every image."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from raydc.config.axes.codec import Codec, Fp16
from raydc.config.axes.views import Views
from raydc.config.base import Name, NamedTeachers, Positive, Strict


class Ensemble(NamedTeachers):
    """Which teachers label, and how their logits become one row."""

    combine: Literal["single", "mean", "norm_mean"] = "single"
    """One teacher; the mean; the mean after each teacher's logits of a batch were brought to the mean norm of all."""
    norm: Literal["running", "batch"] = "running"
    """BatchNorm in the teachers: with its running statistics, or with those of the batch that is labelled."""
    batch: int = Field(128, ge=2)
    """Images that a teacher sees at once; part of the result with ``norm: batch`` and ``combine: norm_mean``."""

    @property
    def together(self) -> bool:
        """Whether an answer depends on which images are answered with it."""
        return self.norm == "batch" or self.combine == "norm_mean"

    @property
    def single(self) -> tuple[str, str] | None:
        """One teacher, unless several are asked."""
        return ("combine: single", "Name one, or combine: mean") if self.combine == "single" else None


class LabelSetConfig(Strict):
    """One label set: its name in the data set, and what of the answers it keeps."""

    name: Name = "soft"
    views: Positive = 300
    """Views of every image, the first so many of an endless row: sets of one run show the same ones."""
    codec: Codec = Fp16()


class RelabelConfig(LabelSetConfig):
    """Soft labels: the teachers' logits for views of every stored image."""

    mode: Literal["stored", "live"] = "stored"
    """Labels of ``views`` views kept beside the images, or made while a student learns, of views without end that begin
    with the same ones: ``views`` and ``codec`` then have no use."""
    labellers: Positive | None = None
    """With ``mode: live``, actors beside the students' workers that label ahead of them, shared out over the students
    that learn at once, one each at least; absent: students' workers label for themselves. Changes no label."""
    teachers: Ensemble = Ensemble()
    view: Views = Views()
    also: list[LabelSetConfig] = []
    """More sets of the same answers, by other codecs or of fewer views: the teachers are asked once for all."""

    @property
    def sets(self) -> list[LabelSetConfig]:
        """All label sets that are stored."""
        if self.mode == "live":
            return []
        return [LabelSetConfig(name=self.name, views=self.views, codec=self.codec), *self.also]

    def asked(self) -> dict[str, Any]:
        """The settings that an answer depends on, whatever is kept of it; not what a lonely image has no use for."""
        ensemble = self.teachers.model_dump(mode="json", exclude={"names"})
        if not self.teachers.together:
            del ensemble["batch"]
        return {"view": self.view.model_dump(mode="json"), "teachers": ensemble}

    @model_validator(mode="after")
    def _side_by_side(self) -> RelabelConfig:
        names = [s.name for s in (self, *self.also)]
        if len(set(names)) < len(names):
            raise ValueError(f"label sets need names of their own, found {names}")
        if self.mode == "live" and self.also:
            raise ValueError("mode: live stores nothing; leave 'also' out, or take mode: stored")
        return self
