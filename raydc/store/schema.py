"""The typed records of ``raydc.json``, format ``raydc-dataset/1``.

Keys that this version does not know are kept, not refused: a newer raydc may add some, and adding a label set with an
older one must not lose them. Codec and view-record versions are checked where a label set is opened, so that images
stay readable by all.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from raydc.labels.views import COLUMNS
from raydc.labels.views import VERSION as AUG_VERSION

FORMAT = "raydc-dataset/1"


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or ":" in parts[0] or "\\" in path:
        raise ValueError(f"path '{path}' must be relative, with '/' and without '..'")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Side = Annotated[int, Field(ge=1, le=65_535)]
"""View records hold places in pixels as uint16."""
MAX_SHARD = 8 << 30
"""Bytes of an image shard or a label file; a reader holds an image shard in memory."""
LEAST_SAMPLE = 4 * 512
"""Bytes of a sample in a tar: header and payload of its class and of its image."""


class Record(BaseModel):
    """A frozen record that keeps what it does not know."""

    model_config = ConfigDict(extra="allow", frozen=True)


class File(Record):
    """A file of the data set; the path is relative to its root."""

    path: RelativePath
    bytes: Count
    sha256: Digest


class ImageFile(File):
    """An image shard; ``keys_sha256`` is the digest of its newline-joined keys."""

    path: Annotated[RelativePath, Field(pattern=r"^images/.+\.tar$")]
    bytes: Annotated[int, Field(ge=0, le=MAX_SHARD)]
    samples: Annotated[int, Field(ge=1)]
    keys_sha256: Digest

    @model_validator(mode="after")
    def _has_room(self) -> ImageFile:
        if self.samples * LEAST_SAMPLE > self.bytes:
            raise ValueError(f"{self.samples} samples need more than {self.bytes} bytes")
        return self


class Images(Record):
    """What holds for all images: one size, one codec, one permutation."""

    count: Count
    size: tuple[Side, Side]
    """Height and width in pixels."""
    codec: Literal["png", "jpg"]
    quality: int | None = None
    subsampling: str | None = None
    permutation_seed: int = 0
    files: list[ImageFile] = []


class CodecName(Record):
    """Which codec wrote the label rows."""

    use: str
    version: int
    k: int | None = None
    """How many logits a row keeps, where it keeps some."""

    def settings(self) -> dict[str, int]:
        """What a row cannot be read without, beside the number of classes."""
        return {} if self.k is None else {"k": self.k}


class Aug(Record):
    """The form of the view records, and what turned them into pixels for the teacher."""

    version: int = AUG_VERSION
    columns: list[str] = list(COLUMNS)
    sampler: str | None = None
    size: int | None = None
    """Side of the view in pixels; absent: the height of the images."""


class LabelFile(File):
    """A label shard: views ``[first, stop)`` of one image shard, and the (offset, size) of each member."""

    path: Annotated[RelativePath, Field(pattern=r"^labels/.+\.tar$")]
    bytes: Annotated[int, Field(ge=0, le=MAX_SHARD)]
    images: RelativePath
    views: tuple[int, int]
    members: dict[str, tuple[int, int]]
    keys_sha256: Digest | None = None
    """Of the image shard that was labelled: the order of the rows."""


class Executed(Record):
    """How the teachers' networks were run, and what that changes of their answers."""

    name: str
    """``eager``, or ``compiled``, and ``-bf16`` or ``-fp16``."""
    fidelity: dict[str, dict[str, float]] = {}
    """Of its answers before storage, against those of the eager networks in fp32; in the form of a codec's."""
    agreement: float | None = None
    """The share of these answers that name the same class first."""
    images: int | None = None
    """Views that both have answered."""


class LabelSet(Record):
    """The teachers' logits for ``views`` views of every image."""

    views: Annotated[int, Field(ge=1)]
    codec: CodecName
    row_bytes: Annotated[int, Field(ge=1)]
    row_dtype: list[list[Any]]
    aug: Aug = Aug()
    teachers: list[str] = []
    labelled: str = "decoded stored images"
    decoder: str = ""
    fidelity: dict[str, dict[str, float]] = {}
    """Of what is stored, against the answers."""
    execution: Executed | None = None
    """Absent: eager, in fp32."""
    files: list[LabelFile] = []


class Source(Record):
    """The real data set that was condensed."""

    name: str
    classes: Count
    classes_sha256: str = ""
    """Of ``classes.txt``; filled in by ``publish``."""


class Manifest(Record):
    """The whole of ``raydc.json``."""

    format: str = FORMAT
    revision: Annotated[int, Field(ge=1)] = 1
    dataset_id: str = ""
    """Filled in by ``publish``."""
    created: str = ""
    """UTC, ISO 8601; filled in by ``publish`` where empty."""
    source: Source
    images: Images
    documents: list[File] = []
    """Class list, card, timm's index and provenance: all other files, filled in by ``publish``."""
    label_sets: dict[str, LabelSet] = {}
