"""Image shards and label shards: WebDataset archives that read the same with webdataset, timm, Hugging Face and Ray.

An image sample is ``{key}.cls``, ``{key}.png|jpg`` and ``{key}.json``, adjacent; the JSON is flat and constant in
type, because Hugging Face infers its schema from the first samples. A label shard holds one block a view, keyed by
view: ``v0000.aug.npy`` and ``v0000.lab.npy``, rows in the order of the image shard.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from tokenize import TokenError
from typing import Literal

import numpy as np

from raydc.errors import DataError
from raydc.store import tar
from raydc.store.schema import ImageFile

KEY_DIGITS = 8
NAME = re.compile(r"[0-9A-Za-z_-]+\.[0-9A-Za-z.]+")
"""A member of an image shard: key and field."""
VIEW_DIGITS = 4


@dataclass(frozen=True)
class Sample:
    """One encoded image and what is known of it."""

    label: int
    synset: str
    """Name of the class."""
    ipc: int
    """Number of the image within its class."""
    block: int
    source: str
    """Where the pixels come from: a block's name, or the URL of a real image."""
    extension: Literal["png", "jpg"]
    data: bytes


def image_shard(samples: Iterable[Sample], first_key: int) -> tuple[bytes, list[str]]:
    """Make an image shard.

    Args:
        samples: in their final order, all of one extension.
        first_key: position of the first one in the whole data set.

    Returns:
        The archive and the keys of its samples.

    Raises:
        DataError: if extensions differ, or one is neither png nor jpg (foreign readers skip others silently).
    """
    keys: list[str] = []
    seen: set[str] = set()

    def members() -> Iterator[tuple[str, bytes]]:
        for position, sample in enumerate(samples, start=first_key):
            seen.add(sample.extension)
            if len(seen) > 1 or sample.extension not in ("png", "jpg"):
                raise DataError(f"image formats {sorted(seen)} in one shard; expected all png or all jpg")
            key = f"{position:0{KEY_DIGITS}d}"
            keys.append(key)
            yield f"{key}.cls", str(int(sample.label)).encode()
            yield f"{key}.{sample.extension}", sample.data
            yield f"{key}.json", _facts(sample)

    data, _ = tar.build(members())
    return data, keys


def _facts(sample: Sample) -> bytes:
    facts = {
        "label": int(sample.label),
        "synset": sample.synset,
        "ipc": int(sample.ipc),
        "block": int(sample.block),
        "source": sample.source,
    }
    return json.dumps(facts).encode()


def samples_of(data: bytes, file: ImageFile) -> dict[str, dict[str, bytes]]:
    """The samples of an image shard in its order: of each key its fields.

    Raises:
        DataError: names that are none, or twice, or not the samples of the manifest.
    """
    samples: dict[str, dict[str, bytes]] = {}
    for name, payload in tar.read(data, file.path):
        if not NAME.fullmatch(name):
            raise DataError(f"{file.path}: member '{name[:80]}' is not called KEY.FIELD. Pack it again")
        key, _, field = name.partition(".")
        if field in samples.setdefault(key, {}):
            raise DataError(f"{file.path}: member '{name}' comes twice. Pack it again")
        samples[key][field] = payload
    if len(samples) != file.samples or keys_digest(list(samples)) != file.keys_sha256:
        raise DataError(f"{file.path}: {len(samples)} samples, not the {file.samples} of the manifest in its order")
    return samples


def keys_digest(keys: Sequence[str]) -> str:
    """SHA-256 of the newline-joined keys: the identity of a shard's order."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()


def label_shard(views: Iterable[tuple[int, np.ndarray, np.ndarray]]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Make a label shard.

    Args:
        views: (view number, records uint16 ``[N, 12]``, label rows uint8 ``[N, row_bytes]``), ascending.

    Returns:
        The archive and the (offset, size) of each member, for reading one view by range.

    Raises:
        DataError: if a type or a number of rows is wrong.
    """

    def members() -> Iterator[tuple[str, bytes]]:
        for view, records, rows in views:
            if records.dtype != np.dtype("<u2") or rows.dtype != np.uint8 or len(records) != len(rows):
                found = f"{records.dtype} {list(records.shape)} and {rows.dtype} {list(rows.shape)}"
                raise DataError(f"view {view}: records and labels are {found}; expected uint16, uint8, of equal length")
            yield member(view, "aug"), npy(records)
            yield member(view, "lab"), npy(rows)

    return tar.build(members())


def member(view: int, kind: Literal["aug", "lab"]) -> str:
    """Name of a view's records or labels in its shard."""
    return f"v{view:0{VIEW_DIGITS}d}.{kind}.npy"


def npy(array: np.ndarray) -> bytes:
    """An array as ``.npy`` version 1 in C order; object arrays are refused."""
    if array.dtype.hasobject:
        raise DataError(f"arrays of Python objects are not stored, found {array.dtype}: they would need pickle")
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return out.getvalue()


def from_npy(data: bytes, origin: str) -> np.ndarray:
    """Read a ``.npy`` without ever unpickling.

    Raises:
        DataError: if it is damaged or holds Python objects.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream)
        if dtype.hasobject or fortran:
            raise ValueError(f"it holds {dtype}{' by columns' if fortran else ''}")
        wanted, found = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
        if wanted != found:  # told before memory is taken for what the header promises
            raise ValueError(f"its header promises {wanted:,} bytes, and there are {found:,}")
        return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape).copy()
    except (ValueError, EOFError, OSError, KeyError, SyntaxError, TokenError, RecursionError) as error:
        raise DataError(f"{origin} is not a readable array: {error}. Label blocks hold plain numbers only") from error
