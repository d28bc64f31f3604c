"""A folder of files on a local disk or any fsspec file system, written atomically: a name exists whole or not at all.

On a disk a file is written under a hidden temporary name, flushed, synced, read back and renamed. On an object store
it is one whole upload, which the store itself makes visible at the end. A Folder holds only its URL, so it can be
pickled to other machines; connections are made where they are used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from raydc.errors import DataError
from raydc.store import backend
from raydc.store.faults import clean, told


@dataclass(frozen=True)
class Receipt:
    """What was written: the name in its folder, size and digest."""

    path: str
    bytes: int
    sha256: str


class Folder:
    """A folder by URL or local path; ``package:NAME/PATH`` is a folder inside an installed Python package.

    Every method takes names relative to the folder, ``/`` between their parts, and raises DataError when the storage
    fails.
    """

    def __init__(self, url: str | Path) -> None:
        text = resolve(str(url))
        path = backend.local_path(text)
        self.url = str(path) if path is not None else text.rstrip("/")
        """Absolute path of a local folder, so that it means the same in every process; else the URL as given."""

    def __repr__(self) -> str:
        return f"Folder({clean(self.url)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folder) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)

    def child(self, *parts: str) -> Folder:
        """The folder below this one; it need not exist."""
        return Folder("/".join([self.url, *(backend.checked(p) for p in parts)]))

    def local(self, name: str = "") -> Path | None:
        """The real path of a name where the folder is on a local disk, else None."""
        root = backend.local_path(self.url)
        return None if root is None else root / backend.checked(name) if name else root

    def exists(self, name: str) -> bool:
        """Whether the file (or folder) is there. An unreachable storage is an error, not an absence."""
        url = self._at(name)
        with told("look for", url):
            return backend.info(url) is not None

    def size(self, name: str) -> int:
        """Size of a file in bytes."""
        url = self._at(name)
        with told("find", url):
            info = backend.info(url)
            if info is None:
                raise FileNotFoundError(f"no such file: {name}")
            return int(info["size"])

    def read(self, name: str) -> bytes:
        """The whole file."""
        return read_url(self._at(name))

    def read_json(self, name: str) -> Any:
        """The file as JSON."""
        try:
            return json.loads(self.read(name))
        except ValueError as error:
            raise DataError(f"{clean(self._at(name))} is not valid JSON: {error}. It was changed or damaged") from error

    def open(self, name: str) -> BinaryIO:
        """The file opened for reading, seekable; close it. Reading it may raise the storage's own errors."""
        url = self._at(name)
        with told("open", url):
            path = backend.local_path(url)
            if path is not None:
                return path.open("rb")
            fs, key = backend.connect(url)
            return cast(BinaryIO, fs.open(key, "rb"))

    def ranges(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Parts of a file, each given as (offset, size); a part beyond its end is a DataError."""
        url = self._at(name)
        with told("read", url):
            path = backend.local_path(url)
            if path is None:
                fs, key = backend.connect(url)
                starts, ends = [o for o, _ in spans], [o + n for o, n in spans]
                parts = [bytes(p) for p in fs.cat_ranges([key] * len(spans), starts, ends, on_error="raise")]
            else:
                with path.open("rb") as file:
                    parts = [backend.part(file, offset, size) for offset, size in spans]
        for (offset, size), part in zip(spans, parts, strict=True):
            if len(part) != size:
                raise DataError(f"{clean(url)} is truncated: it ends before byte {offset + size}. Write it again")
        return parts

    def digest(self, name: str) -> Receipt:
        """Size and SHA-256 of a file, read in pieces."""
        with told("read", self._at(name)), self.open(name) as file:
            size, sha256 = backend.hashed(file)
        return Receipt(name, size, sha256)

    def write(self, name: str, data: bytes) -> Receipt:
        """Write a whole file, replacing it if it is there; on failure the old one, or none, remains."""
        url = self._at(name)
        receipt = Receipt(name, len(data), hashlib.sha256(data).hexdigest())
        with told("write", url, len(data)):
            path = backend.local_path(url)
            if path is not None:
                backend.write_local(path, data, receipt.sha256)
            else:
                fs, key = backend.connect(url)
                fs.pipe_file(key, data)
        return receipt

    def write_json(self, name: str, tree: Any) -> Receipt:
        """Write a tree as JSON, keys in the given order; numbers must be finite."""
        try:
            text = json.dumps(tree, indent=1, allow_nan=False)
        except ValueError as error:
            raise DataError(f"{clean(self._at(name))} cannot be written as JSON: {error}") from error
        return self.write(name, text.encode() + b"\n")

    def list(self, prefix: str = "") -> list[str]:
        """Sorted names of the files that begin with ``prefix`` and have no further ``/`` after it.

        ``list()`` gives the files directly below, ``list("parts/")`` those of a sub-folder, as ``parts/NAME``. Hidden
        ones (first letter ``.``, or ``_tmp``) are left out. An absent folder is empty.
        """
        base, _, start = prefix.rpartition("/")
        url = self._at(base) if base else self.url
        with told("list", url):
            names = [n for n in backend.names(url) if n.startswith(start) and not n.startswith((".", "_tmp"))]
        return sorted(f"{base}/{n}" if base else n for n in names)

    def remove(self, name: str) -> None:
        """Remove a file; it may be absent already."""
        url = self._at(name)
        with told("remove", url):
            path = backend.local_path(url)
            if path is not None:
                path.unlink(missing_ok=True)
            elif backend.info(url) is not None:
                fs, key = backend.connect(url)
                fs.rm_file(key)

    def _at(self, name: str) -> str:
        return f"{self.url}/{backend.checked(name)}"


def resolve(url: str) -> str:
    """Turn ``package:NAME/PATH`` into the path of a file inside an installed Python package; other URLs pass.

    Raises:
        DataError: if the package is not installed or does not hold the file.
    """
    if not url.startswith("package:"):
        return url
    name, _, inside = url.removeprefix("package:").partition("/")
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except ValueError:  # a module without a spec, such as __main__
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"'{url}': package '{name}' is not installed here: pip install {name.replace('_', '-')}")
    path = Path(next(iter(spec.submodule_search_locations)), backend.checked(inside) if inside else "")
    if not path.exists():
        raise DataError(f"'{url}': the installed package '{name}' holds no '{inside}'. Check the path or its version")
    return str(path)


def read_url(url: str) -> bytes:
    """The whole file at a URL, a local path or ``package:NAME/PATH``."""
    url = resolve(url)
    with told("read", url):
        path = backend.local_path(url)
        if path is not None:
            return path.read_bytes()
        fs, key = backend.connect(url)
        return cast(bytes, fs.cat_file(key))
