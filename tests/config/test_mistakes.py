"""Every mistake of a file is told at once, at the path that ``--set`` takes, with the nearest valid name."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from raydc.config.load import override, validate
from raydc.errors import ConfigError
from tests.config.test_load import TREE

BAD = {
    "name": "Bad Name",
    "stpes": 3,
    "method": {"name": "sre2l", "titel": "x"},
    "data": {"use": "digit", "image_size": 0, "classes": 0},
    "squeeze": {"teachers": []},
    "synthesize": {
        "initialize": {"use": "nois"},
        "augment": [
            {"use": "resized_crop", "min_scale": 2},
            {"use": "resized_crop", "min_scale": {"from": 1, "to": 0.1, "shape": "cosin"}},
            {"use": "roll", "min_offset": 5, "max_offset": 2},
            {"p": 0.5},
            {"use": "flip", "pp": 1},
            {"use": "resized_crop", "min_scale": "small"},
        ],
        "objective": [{"use": "cross_entropy", "weight": float("inf")}],
        "optimizer": {"lr": 0.1, "betas": [0.5, 1.0]},
        "steps": 1,
    },
    "relabel": {"codec": "fp61", "view": {"ratio": [2, 1]}},
    "evaluate": {"students": [{"name": "x", "arch": {}}]},
    "engine": {"gpu_per_worker": 1},
}


def lines(tree: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(tree, "run.yaml")
    head, *rest = str(caught.value).split("\n")
    assert head == f"run.yaml: {len(rest)} mistake{'s' if len(rest) > 1 else ''}"
    return [line.strip() for line in rest]


def test_all_mistakes_are_told_at_once() -> None:
    told = dict(line.split(": ", 1) for line in lines(BAD))
    assert sorted(told) == sorted(
        [
            "name",
            "stpes",
            "method.titel",
            "data.use",
            "data.image_size",
            "data.classes",
            "squeeze.teachers",
            "synthesize.ipc",
            "synthesize.initialize.use",
            "synthesize.augment.0.min_scale",
            "synthesize.augment.1.min_scale.shape",
            "synthesize.augment.2",
            "synthesize.augment.3",
            "synthesize.augment.4.pp",
            "synthesize.augment.5.min_scale",
            "synthesize.objective.0.weight",
            "synthesize.optimizer.betas.1",
            "relabel.codec.use",
            "relabel.view",
            "evaluate.students.0.arch.name",
            "engine.gpu_per_worker",
        ]
    )
    assert told["synthesize.ipc"] == "missing, and it has no default"
    assert told["synthesize.augment.2"] == "min_offset 5 is greater than max_offset 2"
    assert told["synthesize.augment.0.min_scale"] == "Input should be less than or equal to 1, found 2"
    assert "which component to 'use'" in told["synthesize.augment.3"]


@pytest.mark.parametrize(
    ("path", "suggestion"),
    [
        ("method.titel", "title"),
        ("data.use", "digits"),
        ("synthesize.initialize.use", "noise"),
        ("synthesize.augment.1.min_scale.shape", "cosine"),
        ("synthesize.augment.4.pp", "p"),
        ("relabel.codec.use", "fp16"),
        ("engine.gpu_per_worker", "gpus_per_worker"),
    ],
)
def test_the_nearest_name_is_suggested(path: str, suggestion: str) -> None:
    (line,) = [line for line in lines(BAD) if line.startswith(f"{path}: ")]
    assert f"did you mean '{suggestion}'?" in line and "(known: " in line


def test_the_value_found_is_shown() -> None:
    (line,) = [line for line in lines(BAD) if line.startswith("synthesize.augment.5.min_scale")][:1]
    assert "'small'" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data={use: folders, image_size: 8}", "data: use: folders needs 'train'"),
        ("data={use: none, image_size: 8}", "data: use: none needs 'classes'"),
        ("data={use: digits, image_size: 8, train: x}", "data: use: digits takes no 'train'"),
        ("squeeze.teachers.0.weights=null", "squeeze.teachers.0: teacher 't' needs exactly one of"),
        ("squeeze.teachers.0.normalize={std: [1, 0, 1]}", "squeeze.teachers.0.normalize: std is"),
        ("synthesize.objective=[]", "synthesize: steps > 0 needs at least one objective term"),
        ("synthesize.objective.0.weight=0", ""),
        ("synthesize.objective=[{use: cross_entropy, weight: 0}]", "at least one objective term with weight > 0"),
        ("synthesize.objective.1={use: cross_entropy}", "objective terms must differ"),
        ("synthesize.teachers.names=[u]", r"synthesize.teachers.names has 'u', but squeeze.teachers are \['t'\]"),
        ("synthesize.teachers.names=[t, t]", "sampling: single takes one teacher"),
        ("synthesize.initialize={use: mosaic, teacher: u}", "synthesize.initialize.teacher has 'u'"),
        ("relabel.teachers.names=[u]", r"relabel.teachers.names has 'u'"),
        ("relabel.teachers.names=[t, u]", "combine: single takes one teacher"),
        ("synthesize.stages={sizes: [4, 6]}", "synthesize.stages.sizes ends with 6, but data.image_size is"),
        ("relabel.view.min_scale=0.5", ""),
        ("relabel.view={min_scale: 0.5, max_scale: 0.4}", "relabel.view: min_scale 0.5 is greater than max_scale 0.4"),
        ("synthesize.rounds=2", "rounds > 1 needs blocks with several images of a class"),
        ("synthesize.objective.1={use: densification}", "densification needs blocks with several images of a class"),
        ("synthesize.augment.0.ratio=[2, 1]", "synthesize.augment.0: ratio is"),
        ("synthesize.augment.0.ratio=[0, 1]", "synthesize.augment.0: ratio is"),
        ("synthesize.augment.0.min_scale={from: 1, to: 0}", "synthesize.augment.0: min_scale.to is 0.0"),
        ("synthesize.augment.0.min_scale={from: 1, to: .nan}", "min_scale.to: Input should be a finite number"),
        ("evaluate.optimizer={use: sgd, lr: 0.1, momentum: 1}", "evaluate.optimizer.momentum"),
        ("evaluate.optimizer={use: sgd}", "evaluate.optimizer.lr: missing"),
    ],
)
def test_settings_that_cannot_work_together_are_refused(text: str, message: str) -> None:
    run = validate(copy.deepcopy(TREE), "test")
    if not message:
        override(run, [text])
        return
    with pytest.raises(ConfigError, match=message):
        override(run, [text])


def test_rounds_and_stages_are_refused_together() -> None:
    run = validate(copy.deepcopy(TREE), "test")
    with pytest.raises(ConfigError, match="rounds and stages cannot be had at once"):
        override(
            run,
            [
                "synthesize.blocks.group=class_major",
                "synthesize.rounds=2",
                f"synthesize.stages={{sizes: [4, {run.data.image_size}]}}",
            ],
        )


def test_every_stage_needs_a_step() -> None:
    run = validate(copy.deepcopy(TREE), "test")
    with pytest.raises(ConfigError, match="steps is 1, fewer than the 2 stages"):
        override(run, ["synthesize.steps=1", f"synthesize.stages={{sizes: [4, {run.data.image_size}]}}"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("synthesize.steps=many", "synthesize.steps: expected a whole number, found 'many'"),
        ("synthesize.steps=1.5", "synthesize.steps: expected a whole number, found 1.5"),
        ("evaluate.loss.temperature=hot", "evaluate.loss.temperature: expected a number, found 'hot'"),
        ("synthesize.clamp=perhaps", "synthesize.clamp: expected true or false, found 'perhaps'"),
        ("evaluate.seeds=3", "evaluate.seeds: expected a list, found 3"),
        ("data.train=[1]", r"data.train: expected text, found \[1\]"),
        ("data=8", "data: expected a section of keys and values, found 8"),
        ("engine=null", "engine: expected a section of keys and values, found None"),
    ],
)
def test_types_are_told_in_the_words_of_yaml(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        override(validate(copy.deepcopy(TREE), "test"), [text])


def test_a_run_without_real_images_is_told_all_that_it_cannot_do() -> None:
    tree = copy.deepcopy(TREE)
    tree["data"] = {"use": "none", "classes": 3, "image_size": 8}
    tree["synthesize"]["initialize"] = {"use": "real"}
    tree["evaluate"] = {"students": [{"name": "s", "arch": {"name": "resnet18"}}]}
    tree["squeeze"]["teachers"].append(
        {"name": "u", "arch": {"name": "x"}, "train": {"epochs": 1, "batch": 1, "optimizer": {"use": "sgd", "lr": 1}}}
    )
    (line,) = lines(tree)
    assert "squeeze.teachers.u is to be trained on it" in line
    assert "synthesize.initialize cannot be 'real'" in line
    assert "students cannot be tested" in line


def test_soft_labels_need_a_relabel_section() -> None:
    tree = copy.deepcopy(TREE) | {"relabel": None}
    tree["evaluate"] = {"students": [{"name": "s", "arch": {"name": "resnet18"}}]}
    assert "evaluate.labels has 'soft' but relabel is null" in lines(tree)[0]
    tree["evaluate"]["labels"] = ["hard"]
    validate(tree, "test")


def test_teacher_names_must_differ() -> None:
    tree = copy.deepcopy(TREE)
    tree["squeeze"]["teachers"] *= 2
    assert lines(tree) == ["squeeze: teacher names must differ, found ['t', 't']"]
