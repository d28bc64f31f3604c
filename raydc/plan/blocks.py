"""Blocks: which images are optimised together. A pure function of the method and the class list, never of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from raydc.config.stages.engine import EngineConfig
from raydc.config.stages.synthesize import SynthesizeConfig


@dataclass(frozen=True)
class Block:
    """Images that share batch statistics, in order: of each its class, and its index within that class.

    Blocks of one list share these tuples wherever they are equal, so a list of blocks grows with their number and not
    with that of the images.
    """

    id: str
    number: int
    classes: tuple[int, ...]
    indices: tuple[int, ...]

    def __len__(self) -> int:
        """Images."""
        return len(self.classes)

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        """The images as (class, index within the class); made anew at every call."""
        return tuple(zip(self.classes, self.indices, strict=True))


def across_classes(classes: Sequence[int], ipc: int, size: int) -> list[Block]:
    """Blocks of different classes, one image each.

    For each image index one pass over the classes in order, cut every ``size`` classes; the last block of a pass may be
    shorter (SRe2L ``recover/data_synthesis.py``: 100 consecutive classes a batch, passes independent).
    """
    groups = [tuple(classes[begin : begin + size]) for begin in range(0, len(classes), size)]
    blocks: list[Block] = []
    for index in range(ipc):
        whole = (index,) * size
        for n, group in enumerate(groups):
            indices = whole if len(group) == size else whole[: len(group)]
            blocks.append(Block(f"i{index:05d}-c{n * size:06d}", len(blocks), group, indices))
    return blocks


def within_class(classes: Sequence[int], ipc: int, size: int) -> list[Block]:
    """Blocks of images of one class; with more than ``size`` of them, several blocks a class.

    LPLD, arXiv 2410.15919, section 3: batches of one class, of min(batch, IPC) images.
    """
    cuts = [range(begin, min(begin + size, ipc)) for begin in range(0, ipc, size)]
    indices = [tuple(cut) for cut in cuts]
    blocks: list[Block] = []
    for n, label in enumerate(classes):
        for held in indices:
            blocks.append(Block(f"k{n:06d}-i{held[0]:05d}", len(blocks), (label,) * len(held), held))
    return blocks


def class_major(classes: Sequence[int], ipc: int, size: int) -> list[Block]:
    """Blocks of all images of a class, then those of the next, cut every ``size`` images.

    G-VBSM ``recover/`` (80 images: 8 classes of 10 at IPC 10), EDC and DELT likewise; specification, section 1.5.
    """
    total = len(classes) * ipc
    blocks: list[Block] = []
    for begin in range(0, total, size):
        places = range(begin, min(begin + size, total))
        labels, indices = tuple(classes[p // ipc] for p in places), tuple(p % ipc for p in places)
        blocks.append(Block(f"m{begin:08d}", len(blocks), labels, indices))
    return blocks


def launches(blocks: Sequence[Block], count: int, begins: Callable[[int], int]) -> list[tuple[Block, ...]]:
    """Blocks that are optimised side by side: so many of one size, whose images begin alike, as long as there are.

    Args:
        blocks: in order; every launch is, and launches are by the first of each.
        count: of a launch.
        begins: the step at which an image begins to move, by its index within its class.
    """
    found, begin = list[list[Block]](), cache(begins)  # asked for every image, of which few differ
    filling: dict[tuple[int, ...], list[Block]] = {}
    for block in blocks:
        way = tuple(map(begin, block.indices))
        together = filling.get(way)
        if together is None or len(together) == count:
            together = filling[way] = []
            found.append(together)
        together.append(block)
    return [tuple(together) for together in found]


def units(blocks: Sequence[Block], synth: SynthesizeConfig, engine: EngineConfig) -> list[tuple[Block, ...]]:
    """Blocks as a run's workers take them: launches, or single ones where no step is taken."""
    return launches(blocks, engine.blocks_per_launch if synth.steps else 1, synth.begins)


def image_steps(blocks: Iterable[Block], synth: SynthesizeConfig) -> int:
    """The steps of all images of blocks, of those that begin later fewer."""
    return sum(synth.steps - synth.begins(index) for block in blocks for index in block.indices)


GROUPS = {"across_classes": across_classes, "within_class": within_class, "class_major": class_major}
"""How images are grouped into blocks, by the name that ``synthesize.blocks.group`` gives."""
