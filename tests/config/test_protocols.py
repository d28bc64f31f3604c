"""The shipped ways to judge: whole files, each value with its source, the same for whatever run they judge."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from raydc.config import RunConfig, load
from raydc.config.stages.evaluate import EvaluateConfig
from raydc.config.stages.relabel import RelabelConfig
from tests.config.shipped import CONFIGS

FOLDER = CONFIGS / "protocols"
WHOLE = ("sre2l", "lpqld", "rded", "edc", "dd-ranking", "dd-ranking-hard", "dsa-convnet")
ELSEWHERE = {"workers", "split", "verifiers", "store", "label_sets"}
"""What is no part of a protocol."""


def judged(method: str, protocol: str, folder: Path) -> RunConfig:
    """A run of a method under a protocol, as a user would write it."""
    labels = FOLDER / f"{protocol}-labels.yaml"
    tree = {
        "extends": str(CONFIGS / "methods" / f"{method}.yaml"), "name": "run",
        "data": {"use": "digits", "image_size": 224},
        "squeeze": {"teachers": [{"name": "t", "arch": {"name": "resnet18"}, "weights": "t.safetensors"}]},
        "synthesize": {"ipc": 10},
        "evaluate": {"extends": str(FOLDER / f"{protocol}.yaml")},
        **({"relabel": {"extends": str(labels)}} if labels.exists() else {}),
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(tree))
    return load(folder / "run.yaml")


@pytest.mark.parametrize("name", WHOLE)
def test_a_protocol_is_the_same_whatever_method_it_judges(name: str, tmp_path: Path) -> None:
    runs = [judged(method, name, tmp_path) for method in ("sre2l", "rded", "edc", "fadrm", "delt")]
    assert all(run.evaluate == runs[0].evaluate for run in runs)
    if "soft" in runs[0].evaluate.labels:
        assert all(run.relabel is not None for run in runs)
        assert (
            len({str(run.relabel.model_dump(exclude={"name", "views", "codec"})) for run in runs if run.relabel}) == 1
        )


@pytest.mark.parametrize("name", WHOLE)
def test_a_protocol_says_everything_and_where_it_is_from(name: str) -> None:
    said = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert set(said) - ELSEWHERE == set(EvaluateConfig.model_fields) - ELSEWHERE
    for line in (FOLDER / f"{name}.yaml").read_text().splitlines():
        key = line.split(":")[0]
        above = f"# {line}" if line.startswith("#") else line
        if line and not line.startswith((" ", "#")) and "#" not in above:
            before = (FOLDER / f"{name}.yaml").read_text().split(f"\n{line}\n")[0].splitlines()[-1]
            assert before.startswith("#"), f"no source beside or above {key}"


@pytest.mark.parametrize("name", ["sre2l", "lpqld", "rded", "edc", "dd-ranking"])
def test_the_labels_of_a_protocol_say_everything(name: str) -> None:
    said = yaml.safe_load((FOLDER / f"{name}-labels.yaml").read_text())
    unused = {"views", "codec"} if said["mode"] == "live" else set()
    assert set(said) | unused == set(RelabelConfig.model_fields) - {"name", "also", "labellers"}


def test_what_the_field_publishes() -> None:
    of = {name: EvaluateConfig.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text())) for name in WHOLE}
    assert [of[n].schedule.model_dump() for n in ("sre2l", "rded", "edc")] == [
        {"use": "cosine", "zeta": z} for z in (1.0, 2.0, 2.0)
    ]
    for name in ("dd-ranking", "dd-ranking-hard"):
        assert of[name].select and of[name].select.lr == [0.001, 0.005, 0.01, 0.05, 0.1]
    assert of["dd-ranking"].augment == ["protocol", "none"] and of["dsa-convnet"].labels == ["hard"]
    dsa = of["dsa-convnet"]
    assert dsa.views and dsa.views.dsa and dsa.views.dsa.ops == ["color", "crop", "cutout", "flip", "scale", "rotate"]
    assert of["edc"].average and of["edc"].average.decay == 0.99
