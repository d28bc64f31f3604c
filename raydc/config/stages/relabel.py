"""The relabel section: soft labels, the teachers' logits for views of every image."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from raydc.config.axes.views import Views
from raydc.config.base import Name, Positive, Strict


class Ensemble(Strict):
    """Which teachers label, and how their logits become one row."""

    names: list[Name] | None = Field(None, min_length=1)
    """In order; absent: all teachers of the run, or the first of them where one is enough."""
    combine: Literal["single", "mean", "norm_mean"] = "single"
    """One teacher; the mean; the mean after each teacher's logits of a batch were brought to the mean norm of all."""
    norm: Literal["running", "batch"] = "running"
    """BatchNorm in the teachers: with its running statistics, or with those of the batch that is labelled."""
    batch: int = Field(128, ge=2)
    """Images that a teacher sees at once; part of the result with ``norm: batch`` and ``combine: norm_mean``."""

    def pick(self, known: list[str]) -> list[str]:
        """The names of the ensemble, of the teachers that the run has."""
        if self.names is not None:
            return list(self.names)
        return known[:1] if self.combine == "single" else known

    @model_validator(mode="after")
    def _possible(self) -> Ensemble:
        if self.combine == "single" and self.names is not None and len(self.names) > 1:
            raise ValueError(f"combine: single takes one teacher, found {self.names}. Name one, or combine: mean")
        if self.names is not None and len(set(self.names)) < len(self.names):
            raise ValueError(f"names must differ, found {self.names}")
        return self


class RelabelConfig(Strict):
    """Soft labels: the teachers' logits for views of every stored image."""

    name: Name = "soft"
    mode: Literal["stored", "live"] = "stored"
    """Labels of ``views`` views kept beside the images, or made of fresh views while a student learns: ``views`` and
    ``codec`` then have no use."""
    teachers: Ensemble = Ensemble()
    views: Positive = 300
    view: Views = Views()
    codec: Literal["fp16", "int8"] = "fp16"

    def effective(self) -> dict[str, Any]:
        """The settings that labels depend on: neither a name, nor what a live label or a lonely one has no use for."""
        tree = self.model_dump(mode="json", exclude={"name", "teachers"})
        if self.mode == "live":
            tree = {k: v for k, v in tree.items() if k not in ("views", "codec")}
        ensemble = self.teachers.model_dump(mode="json", exclude={"names"})
        if self.teachers.norm == "running" and self.teachers.combine != "norm_mean":
            del ensemble["batch"]
        return {**tree, "teachers": ensemble}
