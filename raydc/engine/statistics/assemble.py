"""The sums of all units become one safetensors file, class after class, and the record that says it is there.

Classes are written as soon as they are complete, so the process holds the sums of about two units (at most 32 classes
each) for every pass over the data, those that are read ahead, and one more row for all data: for EfficientNet-B0's
50,655 numbers 26 MB a unit, however many classes there are. The file takes its size of the disk beside the store, or of
the temporary folder where the store is elsewhere.

The file: ``counts`` int64 [K] images looked at, ``whole`` float32 [2 or 3, F], ``classes`` [K, 2 or 3, F] in the asked
precision; where float16 has no such numbers (65,504 is its largest), all are kept in float32 and the record says so.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from raydc.engine.statistics.job import SUMS, Job
from raydc.engine.statistics.units import Unit
from raydc.errors import DataError, StorageError
from raydc.sources.places import in_threads
from raydc.store.faults import clean
from raydc.store.folder import Folder, Receipt
from raydc.store.patience import patiently
from raydc.teachers.ambient import pin
from raydc.teachers.feed import ahead
from raydc.teachers.statistics import Sums

AHEAD = 4
"""Units that are read while one is added."""
DTYPES = {"fp32": (torch.float32, "F32"), "fp16": (torch.float16, "F16")}


class _TooLarge(Exception):
    """A moment that float16 does not hold."""


def assemble(job: Job, units: list[Unit], classes: list[str]) -> None:
    """Commit the statistics of a teacher, of whose units every one has its receipt, unless the store has them.

    What the store has is never written again. Whoever comes second, another run or a copy of this task, may leave a
    file that no record names: it cannot know whether a third one is about to name it.

    Raises:
        DataError: sums that are not what their receipt says, or a class without images.
    """
    if job.finished:
        return
    pin(job.run.config.engine.threads)
    receipts = read_receipts(job, units)
    folder, counts = job.store, _counts(receipts, job, classes)
    with _scratch(folder) as scratch:
        path, precision = scratch / "statistics", job.run.config.squeeze.statistics.precision
        try:
            _write(path, job, receipts, counts, precision)
        except _TooLarge:
            precision = "fp32"
            _write(path, job, receipts, counts, precision)
        sha256 = Folder(scratch).digest(path.name).sha256
        # With its digest: another run may commit the same statistics, made on another kind of device.
        if not job.finished:
            file = _put(folder, path, f"{job.name}-{sha256[:12]}.safetensors", sha256)
            if not job.finished:  # the file may have been long on its way
                folder.write_json(f"{job.name}.json", _record(job, file, counts, len(classes), precision))
    _forget(job, receipts)


def commit_nothing(job: Job, classes: list[str]) -> None:
    """Record that a teacher has no layer which the objective looks at."""
    job.store.write_json(f"{job.name}.json", _record(job, None, torch.zeros(0), len(classes), "fp32"))


def read_receipts(job: Job, units: list[Unit]) -> list[list[dict[str, Any]]]:
    """The receipts of each unit, one a pass."""
    turns = job.run.config.squeeze.statistics.passes
    names = [f"{unit.name(turn)}.json" for unit in units for turn in range(turns)]
    found = in_threads(job.work.read_json, names)
    return [found[first : first + turns] for first in range(0, len(found), turns)]


def complete(job: Job, receipts: list[list[dict[str, Any]]]) -> Iterator[Sums]:
    """Sums of whole classes, ascending; each unit is read once, units and passes added in their order."""
    reads = ahead((partial(_unit, job, turns) for turns in receipts), AHEAD)
    firsts = [min(label for label, _ in turns[0]["counts"]) for turns in receipts]
    open_: Sums | None = None
    for place, sums in enumerate(reads):
        open_ = sums if open_ is None else open_.merge(sums)
        if place + 1 < len(firsts):
            done, open_ = open_.split(firsts[place + 1])
            yield done
    if open_ is not None:
        yield open_


def _unit(job: Job, turns: list[dict[str, Any]]) -> Sums:
    parts = [_read(job.work, receipt) for receipt in turns]
    found = parts[0]
    for part in parts[1:]:
        found = found.merge(part)
    return found


def _read(work: Folder, receipt: dict[str, Any]) -> Sums:
    data, name = work.read(receipt["file"]), receipt["file"]
    if hashlib.sha256(data).hexdigest() != receipt["sha256"]:
        raise DataError(
            f"{clean(work.url)}/{name} is not what its receipt says: the file was changed or cut. Remove it and "
            f"{_receipt(name)} beside its folder, and run squeeze again"
        )
    return Sums.of(safetensors.torch.load(data))


def _receipt(file: str) -> str:
    return f"{file.removeprefix(f'{SUMS}/').rpartition('-')[0]}.json"


def _counts(receipts: list[list[dict[str, Any]]], job: Job, classes: list[str]) -> torch.Tensor:
    """Images looked at, int64 [K]; of one class where classes are not told apart."""
    counts = torch.zeros(len(classes) if job.needed.classes else 1, dtype=torch.int64)
    for turns in receipts:
        for receipt in turns:
            for label, count in receipt["counts"]:
                counts[label] += count
    if not job.run.config.data.partial:
        for label in (counts == 0).nonzero().flatten().tolist():
            raise DataError(f"class '{classes[label]}' has no training image to take statistics of")
    return counts


def _write(path: Path, job: Job, receipts: list[list[dict[str, Any]]], counts: torch.Tensor, precision: str) -> None:
    dtype, _ = DTYPES[precision]
    shape = (job.needed.rows, job.layout.width)
    total = Sums.zeros([0], shape[1], shape[0])
    with path.open("wb") as file:
        file.write(_header(job, counts, precision))
        file.write(_bytes(counts))
        place = file.tell()
        file.write(bytes(4 * shape[0] * shape[1]))
        begin, size = file.tell(), dtype.itemsize * shape[0] * shape[1]
        for sums in complete(job, receipts):
            total = total.merge(sums.whole())
            if job.needed.classes:
                for label, row in zip(sums.labels.tolist(), _narrowed(sums.moments(), dtype), strict=True):
                    file.seek(begin + label * size)  # a class without images is skipped: a hole of zeros
                    file.write(_bytes(row))
        file.truncate(begin + (len(counts) * size if job.needed.classes else 0))
        file.seek(place)
        file.write(_bytes(_narrowed(total.moments()[0], torch.float32)))


def _narrowed(moments: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    found = moments.to(dtype)
    if not torch.isfinite(found).all():
        raise _TooLarge
    return found


def _header(job: Job, counts: torch.Tensor, precision: str) -> bytes:
    """That of a safetensors file: eight bytes of length, then JSON, padded so that every tensor begins aligned."""
    row, (dtype, name) = [job.needed.rows, job.layout.width], DTYPES[precision]
    kinds = {"counts": ("I64", 8, [len(counts)]), "whole": ("F32", 4, row)}
    if job.needed.classes:
        kinds["classes"] = (name, dtype.itemsize, [len(counts), *row])
    tree: dict[str, Any] = {"__metadata__": {key: json.dumps(value) for key, value in _facts(job, counts).items()}}
    begin = 0
    for tensor, (kind, size, shape) in kinds.items():
        end = begin + size * int(torch.tensor(shape).prod())
        tree[tensor] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def _facts(job: Job, counts: torch.Tensor) -> dict[str, Any]:
    """What a reader must know, in the file and in its record."""
    segments = [[s.name, s.channels, s.tiles] for s in job.layout.segments]
    return {"segments": segments, "tile": job.needed.tile, "images": int(counts.sum())}


def _record(job: Job, file: Receipt | None, counts: torch.Tensor, classes: int, precision: str) -> dict[str, Any]:
    place = {"file": file and file.path, "bytes": file.bytes if file else 0, "sha256": file and file.sha256}
    names = {"teacher": job.teacher.name, "data": job.run.config.data.name}
    return {**place, **names, "classes": classes, "precision": precision, **_facts(job, counts),
            "made_from": job.made_from}  # fmt: skip


@contextmanager
def _scratch(folder: Folder) -> Iterator[Path]:
    """A folder for a file on its way: on the disk of a local store, where a rename is all that is left to do."""
    here = folder.local()
    if here is not None:
        here.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=".assembling-", dir=here))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _put(folder: Folder, path: Path, name: str, sha256: str) -> Receipt:
    """Give a file its place in the store; it is never held in memory. The record that follows makes it count."""
    size, here = path.stat().st_size, folder.local(name)
    if here is not None:
        path.replace(here)
        return Receipt(name, size, sha256)
    files, root = folder.filesystem()

    def upload() -> None:
        try:
            files.put_file(str(path), f"{root}/{name}")
        except FileNotFoundError:
            files.makedirs(root, exist_ok=True)
            files.put_file(str(path), f"{root}/{name}")

    patiently(upload, "write", f"{folder.url}/{name}", folder.patience, size)
    return Receipt(name, size, sha256)


def _forget(job: Job, receipts: list[list[dict[str, Any]]]) -> None:
    """Remove the sums of the units, which take as much as two such files; the receipts first, for they vouch."""
    files = [receipt["file"] for turns in receipts for receipt in turns]
    with suppress(StorageError):  # the statistics are there; what is left lies in nobody's way
        in_threads(job.work.remove, [_receipt(file) for file in files])
        in_threads(job.work.remove, files)
