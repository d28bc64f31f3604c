"""One run that turns every axis at once: any number of workers, any interruption, the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from raydc.store.folder import Folder
from raydc.store.verify import verify
from tests import tiny

TEACHERS = [
    tiny.TREE["squeeze"]["teachers"][0],
    {
        "name": "convnet",
        "arch": tiny.CONVNET,
        "normalize": {"mean": [0.2, 0.2, 0.2], "std": [0.4, 0.4, 0.4]},  # another space than the first one's
        "train": {"epochs": 2, "batch": 32, "optimizer": {"use": "adam", "lr": 0.01}, "warmup": 1,
                  "schedule": {"use": "ssrs"}},
    },
]  # fmt: skip
SMOOTH = {"average": {"decay": 0.4}, "category": 0.5}
EVERYTHING: dict[str, Any] = {
    "squeeze": {"teachers": TEACHERS, "statistics": {"views": {"flip": 0.0}, "batch": 64}},
    "synthesize": {
        "ipc": 3,
        "teachers": {"sampling": "round_robin"},
        "blocks": {"group": "class_major", "size": 5},
        "initialize": {"use": "mosaic", "factor": 2, "candidates": 20, "crops": 2},
        "augment": [{"use": "padded_crop", "pad": 2}, {"use": "patch_shuffle"}, {"use": "dsa"}],
        "objective": [
            {"use": "cross_entropy"},
            {"use": "bn_statistics", "first_multiplier": 1.0, **SMOOTH},
            {"use": "conv_statistics", "tile": 4, "drop": 0.3, **SMOOTH},
            {"use": "densification"},
            {"use": "flatness"},
            {"use": "total_variation"},
            {"use": "pixel_norm"},
        ],
        "steps": 12,
        "rounds": 3,
    },
    "relabel": {
        "mode": "live",
        "teachers": {"combine": "norm_mean"},
        "view": {"min_scale": 0.5, "shuffle": 2, "randaugment": {"ops": 2}, "mix": {"use": "mixup"}},
    },
    "evaluate": {
        "epochs": 2,
        "loss": {"use": "mse_ce"},
        "schedule": {"use": "multistep", "milestones": [0.5]},
        "average": {"decay": 0.9},
    },
}


def made(folder: Path, *stages: str, **engine: int) -> Path:
    """The run folder after some stages, all if none is named."""
    folder.mkdir(exist_ok=True)
    config = tiny.write(folder, {**EVERYTHING, "engine": engine})
    for stage in stages or ("run",):
        assert tiny.code(stage, config) == 0
    return folder / "run"


def parts(run: Path) -> dict[str, str]:
    """The digest of every block of the product."""
    markers = [json.loads(path.read_text()) for path in (run / "blocks/condensed").glob("*.json")]
    return {marker["block"]: marker["part"] for marker in markers}


@pytest.mark.timeout(600)
def test_it_is_the_same_for_any_workers_and_after_an_interruption(tmp_path: Path) -> None:
    with tiny.ray_here():
        one = made(tmp_path / "one")
        assert verify(Folder(one / "datasets/condensed")) == []
        results = json.loads((one / "metrics.json").read_text())
        assert {(e["data"], e["labels"], e["label_bytes"]) for e in results["evaluations"]} == {
            (data, labels, 0) for data in ("condensed", "random") for labels in ("soft", "hard")
        }
        assert len(list((one / "statistics").glob("*.safetensors"))) == 2
        assert list((one / "work/selection").glob("*/*.json"))

        # Some blocks are lost, and the statistics and selections with them; another number of workers goes on.
        (tmp_path / "two").mkdir()
        shutil.copytree(one, tmp_path / "two/run")
        for name in ("work", "statistics", "datasets", "students"):
            shutil.rmtree(tmp_path / "two/run" / name)
        for marker in sorted((tmp_path / "two/run/blocks/condensed").glob("*.json"))[1:]:
            marker.unlink()
        two = made(tmp_path / "two", "squeeze", "synthesize", "pack", workers=3)

    assert len(parts(one)) == 3 and parts(one) == parts(two)
    ids = [json.loads((run / "datasets/condensed/raydc.json").read_text())["dataset_id"] for run in (one, two)]
    assert ids[0] == ids[1]
