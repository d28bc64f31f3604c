"""What all records are made of: the strict base, and the kinds of numbers and names that they hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """A frozen record that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class Anneal(Strict):
    """A number that moves from one value to another over the steps of a block."""

    start: float = Field(alias="from")
    end: float = Field(alias="to")
    shape: Literal["cosine", "linear", "step"] = "cosine"
    milestone: float = Field(1.0, gt=0, le=1)
    """The fraction of the steps after which ``to`` is reached and kept."""


def _absolute(url: str) -> str:
    """Refuse a path that another process would look for elsewhere."""
    if not (url.startswith(("/", "~")) or "://" in url):
        raise ValueError("workers have other working directories than this one. Give an absolute path or a URL")
    return url


SharedFolder = Annotated[str, AfterValidator(_absolute)]
"""The URL of a folder that several runs share."""
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
"""The factor of a running average."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
"""A name that is safe in paths: lower case, digits, dot, dash, underscore."""


class NamedTeachers(Strict):
    """Some of a run's teachers."""

    names: list[Name] | None = Field(None, min_length=1)
    """In order; absent: all teachers of the run, or the first of them where one is enough."""

    @property
    def single(self) -> tuple[str, str] | None:
        """The setting that takes one teacher, and how several can be had; None: there may be several."""
        return None

    def pick(self, known: list[str]) -> list[str]:
        """The names, of the teachers that the run has."""
        if self.names is not None:
            return list(self.names)
        return known[:1] if self.single else known

    @model_validator(mode="after")
    def _possible(self) -> NamedTeachers:
        if self.single and self.names is not None and len(self.names) > 1:
            what, mend = self.single
            raise ValueError(f"{what} takes one teacher, found {self.names}. {mend}")
        if self.names is not None and len(set(self.names)) < len(self.names):
            raise ValueError(f"names must differ, found {self.names}")
        return self


def check_ratio(ratio: tuple[float, float]) -> None:
    """Refuse a range of aspect ratios that is none."""
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(f"ratio is {list(ratio)}; expected two positive numbers, the smaller first")
