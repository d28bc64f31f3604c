"""Parts: the images of a block as they were committed, and the marker that says they are there.

A part is a tar named by its block and its digest, so that a late twin of a worker, on other hardware perhaps, can never
put other bytes where a marker points; the marker, written after it, names the part and where its members lie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from raydc.engine.run import Run
from raydc.plan.blocks import Block
from raydc.sources.decode import decode
from raydc.store.folder import Folder
from raydc.store.tar import build


def write_part(folder: Folder, block: Block, members: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    """Write a part; the fields of its block's marker that say where everything is."""
    data, offsets = build(members)
    name = f"{block.id}-{hashlib.sha256(data).hexdigest()[:12]}.tar"
    receipt = folder.write(name, data)
    return {
        "block": block.id,
        "number": block.number,
        "entries": [list(e) for e in block.entries],
        "part": name,
        "bytes": receipt.bytes,
        "sha256": receipt.sha256,
        "members": offsets,
    }


def image_name(place: int, extension: str) -> str:
    """The member that holds the image at a place of the block."""
    return f"{place:06d}.{extension}"


def step_name(step: int) -> str:
    """The member that holds the picture of the way after a step."""
    return f"step-{step:08d}.png"


def read_marker(run: Run, dataset: str, block: str) -> dict[str, Any]:
    """The marker of a block."""
    return dict(run.blocks(dataset).read_json(f"{block}.json"))


def read_members(run: Run, dataset: str, marker: dict[str, Any], names: Sequence[str]) -> list[np.ndarray]:
    """Decode members of a part, each u8 ``[H, W, 3]``."""
    places = [tuple(marker["members"][n]) for n in names]
    data = run.blocks(dataset).ranges(marker["part"], places)
    return [decode(d, f"{marker['part']}: {n}") for n, d in zip(names, data, strict=True)]


def read_images(run: Run, dataset: str, block: Block) -> list[np.ndarray]:
    """The images of a block in its order, decoded from what is stored."""
    names = [image_name(n, run.config.pack.format) for n in range(len(block))]
    return read_members(run, dataset, read_marker(run, dataset, block.id), names)
