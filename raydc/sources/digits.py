"""The built-in data set: scikit-learn's digits, 1,797 grey 8x8 images of 10 classes, for a first run without data.

Source: UCI "Optical Recognition of Handwritten Digits", test part, as ``sklearn.datasets.load_digits`` carries it.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from raydc.config.stages.data import DataConfig
from raydc.errors import ConfigError
from raydc.sources.classes import class_list, select
from raydc.sources.decode import encode
from raydc.sources.split import Split

CLASSES = tuple(str(digit) for digit in range(10))
URL = "digits"
"""Stands for the package's own file; the offset of an image is its number in it."""


@lru_cache(maxsize=1)
def load() -> tuple[np.ndarray, np.ndarray]:
    """Return the images, u8 [1797, 8, 8, 3] in 0..255, and their digits, i32 [1797].

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    # Its file is read, and the package not imported: that takes two seconds, of the driver and of each worker.
    package = find_spec("sklearn")
    if package is None or not package.origin:
        raise ConfigError(
            "data.use is 'digits', but scikit-learn is not installed. Install it: pip install 'raydc[demo]'"
        )
    rows = np.loadtxt(Path(package.origin).parent / "datasets/data/digits.csv.gz", delimiter=",")
    grey = np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)  # stored as 0..16
    return np.repeat(grey[..., None], 3, axis=-1), rows[:, -1].astype(np.int32)


def png(number: int) -> bytes:
    """Return one digit as a PNG file."""
    return encode(load()[0][number], "png")


def find(config: DataConfig) -> tuple[tuple[str, ...], Split, None]:
    """Return the classes and the images asked for; there is no validation split.

    ``data.classes`` may give the ten digits other names.

    Raises:
        ConfigError: scikit-learn is not installed, or the class list has not ten names.
    """
    names = CLASSES if config.classes is None else class_list(config.classes)
    if len(names) != len(CLASSES):
        raise ConfigError(f"data.classes has {len(names)} classes, the digits 10; leave it out or give 10 names")
    chosen = select(config.subset, names, "data.subset")
    digit = load()[1]
    number = np.arange(len(digit), dtype=np.int64)
    split = Split((URL,), np.zeros(len(digit), np.int32), number, np.ones(len(digit), np.int64), digit)
    return tuple(names[c] for c in chosen), split.keep(chosen), None
