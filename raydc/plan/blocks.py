"""Blocks: which images are optimised together. A pure function of the method and the class list, never of workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """Images that share batch statistics, in order; ``entries`` are (class, index of the image in its class)."""

    id: str
    number: int
    entries: tuple[tuple[int, int], ...]


def across_classes(classes: Sequence[int], ipc: int, size: int) -> list[Block]:
    """Blocks of different classes, one image each.

    For each image index one pass over the classes in order, cut every ``size`` classes; the last block of a pass may be
    shorter (SRe2L ``recover/data_synthesis.py``: 100 consecutive classes a batch, passes independent).
    """
    blocks: list[Block] = []
    for index in range(ipc):
        for begin in range(0, len(classes), size):
            entries = tuple((c, index) for c in classes[begin : begin + size])
            blocks.append(Block(f"i{index:05d}-c{begin:06d}", len(blocks), entries))
    return blocks


GROUPS = {"across_classes": across_classes}
