"""A folder of files on a local disk or any fsspec file system, written atomically: a name exists whole or not at all.

On a disk a file is written under a hidden temporary name, flushed, synced, read back and renamed. On an object store
it is one whole upload, which the store itself makes visible at the end. On other stores (SFTP, HDFS, SMB) it is written
under a hidden name and renamed; one that cannot rename onto a file shows none for a moment, never half of one.

A Folder is patient: what fails because the storage is busy or away is tried again for so many seconds, and what fails
for good is told at once. It holds only its URL and that number, so it can be pickled to other machines; connections are
made where they are used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fsspec.core import url_to_fs

from raydc.errors import DataError
from raydc.store import backend
from raydc.store.faults import clean, told, transient
from raydc.store.patience import patiently
from raydc.store.remote import buffered

LOOKS = 16
"""Files looked at at a time."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Receipt:
    """What was written: the name in its folder, size and digest."""

    path: str
    bytes: int
    sha256: str


class Folder:
    """A folder by URL or local path; ``package:NAME/PATH`` is a folder inside an installed Python package.

    Every method takes names relative to the folder, ``/`` between their parts, and raises DataError when the storage
    fails: StorageError where it did not answer for longer than ``patience`` seconds (0 = one try).
    """

    def __init__(self, url: str | Path, patience: float = 0.0) -> None:
        text = resolve(str(url))
        path = backend.local_path(text)
        self.url = str(path) if path is not None else text.rstrip("/")
        """Absolute path of a local folder, so that it means the same in every process; else the URL as given."""
        self.patience = patience

    def __repr__(self) -> str:
        return f"Folder({clean(self.url)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folder) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)

    def child(self, *parts: str) -> Folder:
        """The folder below this one, as patient; it need not exist."""
        return Folder("/".join([self.url, *(backend.checked(p) for p in parts)]), self.patience)

    def hasty(self) -> Folder:
        """The same folder without patience: for courtesies that may fail, and for the first contact."""
        return Folder(self.url)

    def local(self, name: str = "") -> Path | None:
        """The real path of a name where the folder is on a local disk, else None."""
        root = backend.local_path(self.url)
        return None if root is None else root / backend.checked(name) if name else root

    def filesystem(self) -> tuple[Any, str]:
        """An fsspec file system and the folder's path in it, for others that write here; on S3 it is patient itself."""
        with told("open", self.url):
            fs, path = url_to_fs(self.url, **backend.patient_options(self.url, self.patience))
        return fs, path

    def exists(self, name: str) -> bool:
        """Whether the file (or folder) is there. An unreachable storage is an error, not an absence."""
        url = self._at(name)
        return self._patiently("look for", url, lambda: backend.info(url)) is not None

    def present(self, names: Iterable[str]) -> set[str]:
        """Which of these files directly below are there, whatever a listing says.

        A listing may be older than a file. It is asked first, being one request, and every file that it lacks is then
        looked at by itself: for names of which few are expected to be absent.
        """
        wanted = set(names)
        found = wanted & set(self.list())
        with ThreadPoolExecutor(LOOKS) as pool:
            lacking = sorted(wanted - found)
            return found | {name for name, there in zip(lacking, pool.map(self.exists, lacking), strict=True) if there}

    def size(self, name: str) -> int:
        """Size of a file in bytes."""
        url = self._at(name)

        def look() -> int:
            info = backend.info(url)
            if info is None:
                raise FileNotFoundError(f"no such file: {name}")
            return int(info["size"])

        return self._patiently("find", url, look)

    def read(self, name: str, most: int | None = None) -> bytes:
        """The whole file; one of more than ``most`` bytes is a DataError, and is not read."""
        if most is not None and (found := self.size(name)) > most:
            raise DataError(f"{clean(self._at(name))} has {found:,} bytes; expected {most:,} at most. It is not read")
        return read_url(self._at(name), self.patience)

    def read_json(self, name: str, most: int | None = None) -> Any:
        """The file as JSON; see :meth:`read`."""
        try:
            return json.loads(self.read(name, most))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{clean(self._at(name))} is not valid JSON: {error}. It was changed or damaged") from error

    def open(self, name: str) -> BinaryIO:
        """The file opened for reading, seekable; close it."""
        url = self._at(name)
        path = backend.local_path(url)
        if path is not None:
            return self._patiently("open", url, lambda: path.open("rb"))
        return buffered(lambda offset, size: self.ranges(name, [(offset, size)])[0], self.size(name))

    def ranges(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Parts of a file, each given as (offset, size); a part beyond its end is a DataError."""
        url = self._at(name)
        parts: dict[int, bytes] = {}

        def fetch() -> None:
            # Only what is still wanted: of hundreds of parts some would fail at every try of a busy storage.
            left = [n for n in range(len(spans)) if n not in parts]
            found = dict(zip(left, backend.parts(url, [spans[n] for n in left]), strict=True))
            parts.update({n: part for n, part in found.items() if isinstance(part, bytes)})
            failed = [part for part in found.values() if isinstance(part, Exception)]
            if failed:
                raise next((error for error in failed if not transient(error)), failed[0])

        self._patiently("read", url, fetch)
        for n, (offset, size) in enumerate(spans):
            if len(parts[n]) != size:
                raise DataError(f"{clean(url)} is truncated: it ends before byte {offset + size}. Write it again")
        return [parts[n] for n in range(len(spans))]

    def digest(self, name: str) -> Receipt:
        """Size and SHA-256 of a file, read in pieces."""
        with told("read", self._at(name)), self.open(name) as file:
            size, sha256 = backend.hashed(file)
        return Receipt(name, size, sha256)

    def write(self, name: str, data: bytes) -> Receipt:
        """Write a whole file, replacing it if it is there; on failure the old one, or none, remains."""
        url, tries = self._at(name), 0
        receipt = Receipt(name, len(data), hashlib.sha256(data).hexdigest())

        def put() -> None:
            nonlocal tries
            tries += 1
            path = backend.local_path(url)
            if path is not None:
                return backend.write_local(path, data, receipt.sha256)
            backend.write_remote(url, data)
            if tries > 1:  # after a failure the storage's word alone is not enough
                shown = (backend.info(url) or {}).get("size")
                if shown != len(data):
                    raise ConnectionError(f"{len(data)} bytes were written, the storage shows {shown}")

        self._patiently("write", url, put, len(data))
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
        found = self._patiently("list", url, lambda: backend.names(url))
        names = [n for n in found if n.startswith(start) and not n.startswith((".", "_tmp"))]
        return sorted(f"{base}/{n}" if base else n for n in names)

    def empty(self) -> bool:
        """Whether nothing is there, neither a file nor a folder; one that is absent is empty."""
        return not self._patiently("list", self.url, lambda: backend.holds(self.url))

    def remove(self, name: str) -> None:
        """Remove a file; it may be absent already."""
        url = self._at(name)
        self._patiently("remove", url, lambda: backend.remove(url))

    def _patiently(self, action: str, url: str, work: Callable[[], _T], size: int | None = None) -> _T:
        return patiently(work, action, url, self.patience, size)

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


def read_url(url: str, patience: float = 0.0) -> bytes:
    """The whole file at a URL, a local path or ``package:NAME/PATH``; raises as ``Folder``."""
    url = resolve(url)
    return patiently(lambda: backend.whole(url), "read", url, patience)
