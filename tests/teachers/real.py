"""A generated real data set on disk: coloured squares whose class can be learned in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from raydc.config.stages.data import DataConfig
from raydc.keys import Key
from raydc.sources.base import Source, open_source
from raydc.sources.decode import encode

SIDE = 8


def picture(label: int, i: int) -> np.ndarray:
    """Noise with one bright channel: uint8 [8, 8, 3]."""
    image = Key(("picture", label, i)).integers(0, 120, SIDE, SIDE, 3)
    image[..., label % 3] += 90
    return image.astype(np.uint8)


def real_source(folder: Path, per_class: int = 11, classes: int = 3) -> Source:
    """Write ``per_class`` training pictures a class, and 4 for validation, and open them."""
    for split, count, start in (("train", per_class, 0), ("val", 4, 1000)):
        for label in range(classes):
            place = folder / split / f"c{label}"
            place.mkdir(parents=True)
            for i in range(start, start + count):
                (place / f"{i:05d}.png").write_bytes(encode(picture(label, i), "png"))
    config = DataConfig(use="folders", train=str(folder / "train"), validation=str(folder / "val"), image_size=SIDE)
    return open_source(config, Key((0,)))
