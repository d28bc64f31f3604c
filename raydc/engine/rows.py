"""Where every image of a data set lies among its parts: an array of 24 bytes an image, and the names of the parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from raydc.engine.parts import image_name, read_marker
from raydc.engine.run import Run
from raydc.sources.places import in_threads

ROW = np.dtype([("part", "<i4"), ("offset", "<i8"), ("size", "<i4"), ("label", "<i4"), ("index", "<i4")])
"""One image: its part, the bytes in it, its class, and its number within the class."""


@dataclass(frozen=True)
class Rows:
    """Images in block order."""

    images: np.ndarray
    """:data:`ROW` ``[n]``."""
    parts: tuple[tuple[str, int], ...]
    """The parts: name, and number of the block."""


def rows_of(run: Run, dataset: str, ids: list[str]) -> Rows:
    """Every image of some blocks, in their order, from their markers; no marker is kept."""
    found = in_threads(partial(_block, run, dataset), ids)
    for n, (_, _, images) in enumerate(found):
        images["part"] = n
    return Rows(np.concatenate([images for _, _, images in found]), tuple((name, number) for name, number, _ in found))


def _block(run: Run, dataset: str, block: str) -> tuple[str, int, np.ndarray]:
    marker = read_marker(run, dataset, block)
    places = [marker["members"][image_name(n, run.config.pack.format)] for n in range(len(marker["entries"]))]
    images = np.zeros(len(places), ROW)
    images["offset"], images["size"] = np.reshape(places, (-1, 2)).T
    images["label"], images["index"] = np.reshape(marker["entries"], (-1, 2)).T
    return marker["part"], marker["number"], images
