"""Bad configs, folders and addresses as a user meets them: told at once, all of it, and nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import tiny

from .bad import CLUSTER, CONFIG, DATA, made


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"synthesize": {"stepz": 5}}, ["synthesize.stepz: unknown key", "mean 'steps'?"], id="key"),
        pytest.param({"enigne": {}}, ["enigne", "unknown key", "did you mean 'engine'"], id="section"),
        pytest.param({"synthesize": {"steps": "many"}}, ["synthesize.steps", "whole number", "'many'"], id="number"),
        pytest.param({"data": 8}, ["data: ", "expected a section", "found 8"], id="no section"),
        pytest.param({"evaluate": {"seeds": 3}}, ["evaluate.seeds", "expected a list", "found 3"], id="list"),
        pytest.param({"relabel": {"codec": "fp61"}}, ["relabel.codec", "did you mean 'fp16'"], id="choice"),
        pytest.param(
            {"synthesize": {"teachers": {"names": ["vgg"]}}},
            ["synthesize.teachers.names has 'vgg'", "['resnet']"],
            id="teacher",
        ),
        pytest.param(
            {"evaluate": {"students": [{"name": "a", "arch": {"use": "torchvision", "name": "alexnet"}}]}},
            ["evaluate.students.0.arch", "'alexnet' cannot take images of 16x16 pixels", "Raise data.image_size"],
            id="image size",
        ),
        pytest.param(
            {"evaluate": {"students": [{"name": "a", "arch": {"use": "timm", "name": "resnet81"}}]}},
            ["evaluate.students.0.arch", "no network 'resnet81'", "did you mean 'resnet18'"],
            id="network",
        ),
        pytest.param({"data": {"subset": ["1", "x"]}}, ["data.subset", "'x' is none of the 10 classes"], id="subset"),
        pytest.param(
            {"synthesize": {"classes": [4, 0]}, "evaluate": {"students": []}},
            ["synthesize.classes", "index 4", "0 to 3"],
            id="classes",
        ),
    ],
)
def test_a_config_that_cannot_be(changes: dict[str, Any], words: list[str], tmp_path: Path, call: Any) -> None:
    said = call(CONFIG, "check", tiny.write(tmp_path, changes))
    assert all(word in said for word in words), said
    assert not (tmp_path / "run").exists()


def test_an_objective_that_the_teacher_cannot_serve(tmp_path: Path, call: Any) -> None:
    teacher = {**tiny.TREE["squeeze"]["teachers"][0], "arch": {"use": "torchvision", "name": "alexnet"}}
    changes = {"data": {"image_size": 64}, "squeeze": {"teachers": [teacher]}}
    said = call(CONFIG, "check", tiny.write(tmp_path, changes))
    assert "bn_statistics needs BatchNorm2d layers, and teacher 'resnet' (alexnet) has none" in said


def test_mistakes_of_two_networks_are_told_at_once(tmp_path: Path, call: Any) -> None:
    students = [{"name": n, "arch": {"use": "timm", "name": n}} for n in ("resnet81", "vgg11_bn")]
    said = call(CONFIG, "check", tiny.write(tmp_path, {"evaluate": {"students": students}}))
    assert "2 mistakes" in said and "students.0.arch: " in said and "students.1.arch: " in said


def test_a_teacher_whose_class_list_lacks_classes(tmp_path: Path, call: Any) -> None:
    teacher = {"name": "resnet", "arch": tiny.RESNET, "weights": "w.safetensors", "classes": ["1", "0", "7", "four"]}
    said = call(DATA, "check", tiny.write(tmp_path, {"squeeze": {"teachers": [teacher]}}))
    assert "teacher 'resnet' has 4 outputs, the data set 4 classes" in said and "lacks 1 (4)" in said


@pytest.mark.parametrize("verb", ["check", "run", "plan"])
def test_a_config_file_that_is_missing(verb: str, tmp_path: Path, call: Any) -> None:
    said = call(CONFIG, verb, tmp_path / "nothing.yaml")
    assert f"cannot read config '{tmp_path}/nothing.yaml': No such file" in said


def test_a_folder_that_is_no_run(tmp_path: Path, call: Any) -> None:
    said = call(CONFIG, "run", tmp_path)
    assert f"{tmp_path} is not a run folder: it has no run.yaml" in said and not list(tmp_path.iterdir())
    assert "no run at" in call(DATA, "status", tmp_path)


def test_a_student_that_cannot_be_is_told_before_the_teacher_is_trained(tmp_path: Path, call: Any) -> None:
    students = [{"name": "a", "arch": {"use": "torchvision", "name": "alexnet"}}]
    said = call(CONFIG, "run", tiny.write(tmp_path, {"evaluate": {"students": students}}))
    assert "evaluate.students.0.arch" in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["inspect", "verify"])
def test_a_folder_that_is_no_data_set(verb: str, tmp_path: Path, call: Any) -> None:
    for target in (tmp_path, tmp_path / "nowhere"):
        assert f"{target} is not a data set: it has no raydc.json" in call(DATA, verb, target)


@pytest.mark.parametrize("address", ["somewhere", "127.0.0.1:9", "ray://127.0.0.1:9"])
def test_a_cluster_address_that_does_not_answer(address: str, tmp_path: Path) -> None:
    config = tiny.write(tmp_path)
    environment = {**os.environ, "RAY_ADDRESS": address}
    found = subprocess.run(
        [sys.executable, "-m", "raydc", "run", str(config)], env=environment, cwd=tmp_path, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert found.returncode == CLUSTER and "Traceback" not in found.stdout + found.stderr
    assert f"error: no Ray cluster at {address}" in found.stderr and "Check RAY_ADDRESS" in found.stderr
    assert made(tmp_path / "run") == []
