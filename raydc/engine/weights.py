"""Teacher weights, once a node: a local file that every worker of the node maps.

Mapped pages are shared and private on write. The object store would map them writable for all (one stray write
corrupts every worker), so weights do not travel through it.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

import torch

from raydc.engine.run import Run
from raydc.store.folder import Folder
from raydc.teachers.teacher import Teacher, TeacherRecord, load


def read_record(folder: Folder, name: str) -> TeacherRecord:
    """The record of a teacher that squeeze has committed."""
    return TeacherRecord.model_validate(folder.read_json(f"{name}.json"))


def teacher(run: Run, name: str, device: torch.device) -> Teacher:
    """Load a squeezed teacher onto a device, through this node's copy of its weights."""
    folder = run.teachers()
    record = read_record(folder, name)
    return load(record, local_copy(folder, f"{name}.safetensors", record.sha256), device)


def local_copy(folder: Folder, name: str, sha256: str) -> Path:
    """A path on this node that holds a file of the folder: the file itself if local, else a copy fetched once.

    Whoever maps it holds it against the digest of its record (``teachers.teacher.load``).
    """
    here = folder.local(name)
    if here is not None:
        return here
    cache = Path(tempfile.gettempdir()) / f"raydc-{os.getuid()}" / "weights"
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / sha256
    with (cache / f"{sha256}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_bytes(folder.read(name))
            temporary.replace(path)
    return path
