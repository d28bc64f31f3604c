"""Tiny real data sets for the tests: pictures, class folders and WebDataset shards."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from raydc.config.stages.data import DataConfig
from raydc.keys import Key
from raydc.sources.base import Source, open_source
from raydc.store.tar import build

_T = TypeVar("_T")
FORMATS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}


def picture(seed: int = 0, kind: str = "png", mode: str = "RGB", size: tuple[int, int] = (12, 9)) -> bytes:
    """An encoded picture of a smooth random pattern; ``size`` is (width, height)."""
    noise = np.random.RandomState(seed).randint(0, 256, (3, 3, 3)).astype(np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, FORMATS[kind])
    return buffer.getvalue()


def pickled(value: _T) -> _T:
    """The value as another process would get it."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes


def tree(root: Path, counts: Mapping[str, int], kind: str = "png") -> str:
    """Write class folders with so many pictures each."""
    for c, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / name / f"im{i:03d}.{kind}").write_bytes(picture(1000 * c + i, kind))
    return str(root)


def shard(path: Path, members: Iterable[tuple[str, bytes]]) -> str:
    """Write a tar of these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(build(members)[0])
    return str(path)


def samples(labels: Iterable[Any], first: int = 0, kind: str = "jpg", key: str = "cls") -> list[tuple[str, bytes]]:
    """The members of one sample for each label; ``key`` other than ``cls`` goes into a json member."""
    members = []
    for i, label in enumerate(labels, first):
        members.append((f"{i:06d}.{kind}", picture(i, kind)))
        in_json = (f"{i:06d}.json", json.dumps({key: label}).encode())
        members.append((f"{i:06d}.cls", str(label).encode()) if key == "cls" else in_json)
    return members


def source(use: str, train: Any = None, seed: int = 0, **settings: Any) -> Source:
    """Open a data set; images are 8x8 unless said otherwise."""
    config = DataConfig(use=use, train=None if train is None else str(train), **{"image_size": 8, **settings})
    return open_source(config, Key((seed,)))
