"""The adopt section: a condensed set that others have made, judged in place of one of the run's own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from raydc.config.base import Strict


class AdoptConfig(Strict):
    """Which set is judged, and how it is read. ``adopt: URL`` says the same as ``adopt: {url: URL}``."""

    url: str
    """A raydc data set, a folder of class folders of images, or a safetensors file of ``images`` and ``labels``."""
    folders: Literal["names", "numbers"] | None = None
    """What class folders are called by: class names, or numbers in the label space; absent: whichever fits alone."""
    resize: bool = False
    """Bring images of another size to ``data.image_size`` by the rule of the data; otherwise they are refused."""
    teachers: str | None = None
    """URL of a run whose teachers are taken over where it has them and made them as this one would."""

    @model_validator(mode="before")
    @classmethod
    def _by_url(cls, given: Any) -> Any:
        return {"url": given} if isinstance(given, str) else given
