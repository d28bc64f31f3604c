"""Pictures that show their class by their colour, and a teacher by checkpoint that knows them."""

from __future__ import annotations

import io
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from raydc.config.stages.networks import Arch
from raydc.keys import Key
from raydc.sources.decode import decode_resized
from raydc.teachers.networks import build
from raydc.teachers.teacher import save
from tests import tiny
from tests.sources.make import FORMATS

SIZE = 16
COLOURS = np.array([[150, 0, 0], [0, 150, 0], [0, 0, 150], [170, 170, 170]], np.uint8)
"""What is added to the noise of each class; also as greys they differ."""
NORMALIZE = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def picture(label: int, number: int, kind: str = "png", mode: str = "RGB") -> bytes:
    """An encoded picture of a class, in a size of its own."""
    shape = (9 + 5 * (number % 7), 30 - number % 20, 3)
    pixels = np.random.RandomState(number).randint(0, 80, shape).astype(np.uint8) + COLOURS[label]
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, FORMATS[kind])
    return buffer.getvalue()


def members(
    labels: list[Any], first: int = 0, key: str = "cls", names: tuple[str, ...] = ()
) -> list[tuple[str, bytes]]:
    """The members of a shard, a sample for each label (an index or a name): jpg and cls, or png and json."""
    found = []
    for n, label in enumerate(labels, first):
        shown = names.index(label) if label in names else label
        kind = "jpg" if key == "cls" else "png"
        found.append((f"{n:06d}.{kind}", picture(shown, n, kind)))
        text = str(label) if key == "cls" else json.dumps({key: label})
        found.append((f"{n:06d}.{'cls' if key == 'cls' else 'json'}", text.encode()))
    return found


@lru_cache(maxsize=1)
def _network() -> nn.Module:
    network = build(Arch(**tiny.RESNET), len(COLOURS), SIZE, Key(("weights",)))
    kinds = [("RGB", "jpg"), ("L", "png"), ("P", "png")]
    shown = [(c, n, mode, kind) for n in range(12) for c in range(len(COLOURS)) for mode, kind in kinds]
    pixels = np.stack([decode_resized(picture(c, n, k, m), "x", SIZE, "center_crop") for c, n, m, k in shown])
    x, y = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25, torch.tensor([c for c, *_ in shown])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    assert (network.eval()(x).argmax(1) == y).float().mean() > 0.98
    return network


def teacher(folder: Path, names: list[str]) -> dict[str, Any]:
    """The ``squeeze`` section of a run whose teacher knows the classes of the colours under these four names."""
    path = folder / "knowing.safetensors"
    save(_network(), path)
    known = {"name": "resnet", "arch": tiny.RESNET, "normalize": NORMALIZE, "weights": str(path), "classes": names}
    return {"teachers": [known]}
