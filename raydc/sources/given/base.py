"""What the forms of a condensed set have in common: classes in an array, and images handed out in units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from raydc.errors import DataError
from raydc.sources.places import folders_and_files
from raydc.store.faults import clean
from raydc.store.folder import Folder
from raydc.store.manifest import MANIFEST

FORMS = (
    "a raydc data set (a folder with raydc.json), a folder of class folders of images, or a .safetensors file with "
    "'images' and 'labels'"
)
"""The three forms, in words."""
UNIT = 100
"""Images of a unit, where the form itself has no parts: a few seconds of work at 224 pixels."""


@dataclass(frozen=True)
class Glance:
    """What is known of a set before its classes are."""

    form: str
    images: int
    per_class: float
    """Mean number of images of the classes that it has."""
    codec: str = "png"
    """How its images are stored here."""
    quality: int | None = None
    """Of JPEG."""


@dataclass(frozen=True)
class Taken:
    """The images of one unit."""

    images: list[bytes]
    """Encoded, each of the size that the run has."""
    sha256: str
    """Of what was read."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Files of the data set that are kept as they are, by their paths in it."""


class Given(Protocol):
    """A set as it was found: picklable, the same in every process; images are read when they are taken."""

    form: ClassVar[str]
    labels: np.ndarray
    """int32 ``[N]``: the class of each image."""
    cuts: list[int]
    """Where units begin and end: the first is 0, the last N."""

    def take(self, first: int, stop: int) -> Taken:
        """The images of a unit.

        Raises:
            DataError: one that cannot be read or decoded, or of another size; names it.
        """

    def fingerprint(self) -> str:
        """SHA-256 of what was found without reading images: their names or places, and their classes."""


def form_of(url: str) -> str:
    """The form of a set by what its URL names.

    Raises:
        DataError: it is none of the three, or cannot be reached.
    """
    if url.lower().endswith(".safetensors"):
        return "safetensors"
    folder = Folder(url)
    if folder.exists(MANIFEST):
        return "raydc"
    try:
        folders, files = folders_and_files(folder.url)
    except DataError as error:
        raise type(error)(f"{error}. A set that is judged is {FORMS}") from error
    if folder.exists("run.yaml"):
        raise DataError(f"{clean(url)} is a run folder; its data set is {clean(folder.url)}/datasets/condensed")
    if not folders:
        held = f"{len(files)} files and no folders" if files else "nothing"
        raise DataError(f"{clean(url)} holds {held}; expected {FORMS}")
    return "folders"


def even_cuts(count: int) -> list[int]:
    """Units of one size, the last one shorter."""
    return [*range(0, count, UNIT), count]


def check_size(found: int, expected: int, origin: str) -> None:
    """Refuse images of another size than the run's, before any is read."""
    if found != expected:
        raise DataError(
            f"{origin}: images of {found}x{found} pixels, but data.image_size is {expected}. Judge it with a config of "
            f"its size (--set data.image_size={found}, with teachers of that size), or have images resized by the rule "
            "of the data: --set adopt.resize=true"
        )
