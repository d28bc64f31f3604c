"""What tests of bad input share: data that are sound, until a test spoils them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raydc.config.load import merge
from raydc.config.stages.networks import Arch
from raydc.keys import Key
from raydc.teachers.networks import build
from raydc.teachers.teacher import save
from tests import tiny

from .knowing import picture, teacher

CONFIG, DATA, CLUSTER = 2, 3, 4
ANNOUNCED = ("run.yaml", "env.json", "data.json", "execution.json", "status.json", "events")
"""What a run writes of itself before it does anything."""
CLASSES = ["ant", "bee", "cow"]
BRIEF = {"synthesize": {"steps": 2, "snapshots": 1}}


def weights(folder: Path, classes: int = 3, arch: dict[str, Any] | None = None) -> str:
    """Fresh weights of a network in a file."""
    path = folder / "weights.safetensors"
    save(build(Arch(**(arch or tiny.RESNET)), classes, 16, Key(("weights",))), path)
    return str(path)


def fetched(url: str) -> dict[str, Any]:
    """A teacher by checkpoint."""
    return {"squeeze": {"teachers": [{"name": "resnet", "arch": tiny.RESNET, "weights": url}]}}


def on(folder: Path, use: str, train: str | Path, **data: Any) -> dict[str, Any]:
    """A run on these images with a teacher by checkpoint, so that nothing is trained."""
    found = {"use": use, "name": "mine", "train": str(train), "image_size": 16, **data}
    return merge(BRIEF, {"data": found, **fetched(weights(folder))})


def known(folder: Path, use: str = "folders", **data: Any) -> dict[str, Any]:
    """A run on the pictures of ``folder/in``, with a teacher that knows them."""
    found = {"use": use, "name": "mine", "train": str(folder / "in"), "image_size": 16, **data}
    return merge(BRIEF, {"data": found, "squeeze": teacher(folder, [*CLASSES, "dog"])})


def fill(root: Path, counts: dict[str, int], size: int | None = None) -> None:
    """Class folders of pictures, cut to so many bytes."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            (root / name / f"im{n}.png").write_bytes(picture(label, n)[:size])


def made(run: Path) -> list[str]:
    """What a run has done, beside announcing itself."""
    return sorted(p.name for p in run.iterdir() if p.name not in ANNOUNCED) if run.exists() else []
