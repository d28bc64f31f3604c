"""The header of a safetensors file, read without trusting it: 8 bytes of length, JSON, then raw tensors.

The format is that of the safetensors package: offsets in the JSON count from the end of the header.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from raydc.errors import DataError
from raydc.store.faults import clean
from raydc.store.folder import Folder

MOST = 100_000_000
"""Bytes of a header at most, by the format itself."""
DTYPES = {
    "U8": "|u1", "I8": "|i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8",
    "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
"""NumPy's names of those types that it has."""


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies in its file."""

    name: str
    kind: str
    """As the file calls its type: ``F32``."""
    shape: tuple[int, ...]
    offset: int
    """Of its first byte in the file."""

    @property
    def dtype(self) -> np.dtype:
        """NumPy's type."""
        return np.dtype(DTYPES[self.kind])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, by the first dimension."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"'{self.name}' {self.kind} {list(self.shape)}"


def read_header(folder: Folder, name: str) -> dict[str, Tensor]:
    """The tensors of a file, each inside of it and as long as its shape says; no tensor is read.

    Raises:
        DataError: no safetensors file, a truncated one, or a header that is not true.
    """
    where, size = clean(f"{folder.url}/{name}"), folder.size(name)
    if size < 8:
        raise DataError(f"{where} has {size} bytes; a safetensors file begins with 8 bytes of length")
    length = int.from_bytes(folder.ranges(name, [(0, 8)])[0], "little")
    if not 2 <= length <= min(MOST, size - 8):
        raise DataError(f"{where} is not a safetensors file, or truncated: its header would have {length:,} bytes, "
                        f"the file has {size:,}. A torch file is none: use safetensors.torch.save_file")  # fmt: skip
    try:
        tree = json.loads(folder.ranges(name, [(8, length)])[0])
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not a safetensors file: its header is not JSON ({error})") from error
    if not isinstance(tree, dict):
        raise DataError(f"{where} is not a safetensors file: its header holds a {type(tree).__name__}")
    return {k: _tensor(k, v, 8 + length, size, where) for k, v in tree.items() if k != "__metadata__"}


def _tensor(name: str, entry: Any, start: int, size: int, where: str) -> Tensor:
    try:
        kind, shape, (begin, end) = str(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, begin, end))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: the header's entry '{name[:40]}' is damaged ({error!r})") from error
    found = Tensor(name, kind, shape, start + begin if whole else 0)
    if not whole or end < begin or start + end > size:
        raise DataError(f"{where}: tensor '{name[:40]}' would lie at bytes {begin} to {end}, and the file has "
                        f"{size:,} in all. It is truncated or its header is not true")  # fmt: skip
    if kind in DTYPES and math.prod(shape) * found.dtype.itemsize != end - begin:
        raise DataError(f"{where}: tensor {found} would have {math.prod(shape) * found.dtype.itemsize:,} bytes, its "
                        f"header gives it {end - begin:,}")  # fmt: skip
    return found
