"""The shipped files: every one loads, and the difference between two papers is a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from raydc.config import dump, load
from raydc.config.load import validate
from tests.config.shipped import BASE, CONFIGS, FRAGMENTS, METHODS, RUNS, SECTIONS, by_name, method, read, steps_between


# ---- every file loads -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", RUNS, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_every_run_loads_and_survives_a_round_trip(path: Path) -> None:
    run = read(path)
    assert validate(yaml.safe_load(dump(run)), "dump") == run
    assert run.name in (path.stem, f"{path.parent.name}-{path.stem}")


@pytest.mark.parametrize("path", METHODS, ids=lambda p: p.stem)
def test_every_method_is_a_run_but_for_its_data_and_scale(path: Path, tmp_path: Path) -> None:
    run = method(path.stem, tmp_path)
    assert run.method.name == path.stem
    assert run.method.title and "arxiv.org" in run.method.paper and "published" in run.method.note


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_every_part_completes_a_run(path: Path, tmp_path: Path) -> None:
    section = SECTIONS[path.parent.name] or ("relabel" if path.stem.endswith("-labels") else "evaluate")
    own = BASE.get(section, {}) if section == "synthesize" else {}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(BASE | {section: own | {"extends": str(path)}}))
    assert getattr(load(tmp_path / "run.yaml"), section) != getattr(validate(BASE, "base"), section)


@pytest.mark.parametrize("path", [*RUNS, *METHODS, *FRAGMENTS], ids=lambda p: str(p.relative_to(CONFIGS)))
def test_every_file_says_first_what_it_is(path: Path) -> None:
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", METHODS, ids=lambda p: p.stem)
def test_every_value_of_a_method_has_a_source(path: Path) -> None:
    """On its line, or above it in the same section or the one around it."""
    covered: list[int] = []
    body = path.read_text().split("synthesize:")[1]
    for line in body.splitlines():
        text = line.strip()
        depth = len(line) - len(line.lstrip())
        covered = [d for d in covered if d <= depth]
        if text.startswith("#") or "  # " in line:
            covered.append(depth)
        elif text and not text.endswith(":"):
            assert covered and covered[-1] <= depth, f"no source above or beside: {text}"


# ---- what a method changes of its parent ------------------------------------------------------------------------
CHANGES = {
    ("sre2l", "cda"): {"synthesize.augment.resized_crop.min_scale"},
    ("sre2l", "lpld"): {
        "synthesize.blocks.group",
        "synthesize.objective.bn_statistics.category",
        "relabel.views",
    },
    ("sre2l", "gvbsm"): {
        "synthesize.teachers.sampling",  # the pool; who is in it, the run says
        "synthesize.blocks.group",
        "synthesize.blocks.size",
        "synthesize.objective.bn_statistics.first_multiplier",  # goes over to the convolutions, which are first
        "synthesize.objective.bn_statistics.average",
        "synthesize.objective.conv_statistics",
        "synthesize.objective.densification",
        "synthesize.optimizer.lr",
        "relabel.teachers.combine",
        "evaluate.batch",
        "evaluate.loss",
    },
    ("gvbsm", "edc"): {
        "synthesize.initialize",
        "synthesize.augment.resized_crop.min_scale",
        "synthesize.augment.roll",  # gone
        "synthesize.objective.bn_statistics.average.decay",
        "synthesize.objective.bn_statistics.category",
        "synthesize.objective.conv_statistics.average.decay",
        "synthesize.objective.conv_statistics.category",
        "synthesize.objective.densification",  # gone
        "synthesize.objective.flatness",
        "synthesize.optimizer.lr",
        "synthesize.steps",
        "relabel.teachers.combine",
        "relabel.view.min_scale",
        "evaluate.average",
        "evaluate.batch",
        "evaluate.loss.gamma",
        "evaluate.schedule.zeta",
    },
    ("sre2l", "rded"): {
        "synthesize.initialize",
        "synthesize.steps",
        "relabel.mode",
        "relabel.view.min_scale",
        "relabel.view.shuffle",
        "evaluate.batch",
        "evaluate.schedule.zeta",
    },
    ("cda", "delt"): {
        "synthesize.blocks.group",
        "synthesize.initialize",
        "synthesize.augment.roll",  # gone
        "synthesize.rounds",
        "relabel.mode",
        "relabel.view.min_scale",
        "relabel.view.randaugment",
        "evaluate.batch",
        "evaluate.schedule.zeta",
    },
    ("sre2l", "fadrm"): {
        "synthesize.initialize",
        "synthesize.stages",
        "synthesize.steps",
        "pack.format",
        "relabel.teachers.norm",
        "relabel.teachers.batch",
        "evaluate.batch",
        "evaluate.schedule.zeta",
    },
    ("fadrm", "fadrm-plus"): {"synthesize.teachers.sampling", "relabel.teachers.combine"},
}


@pytest.mark.parametrize(("parent", "child"), CHANGES, ids=lambda name: name)
def test_a_method_is_its_parent_but_for_these(parent: str, child: str, tmp_path: Path) -> None:
    assert steps_between(method(parent, tmp_path), method(child, tmp_path)) == CHANGES[parent, child]


@pytest.mark.parametrize("path", METHODS, ids=lambda p: p.stem)
def test_every_method_is_compared_with_its_parent(path: Path) -> None:
    extends = yaml.safe_load(path.read_text()).get("extends")
    assert extends is None or (extends.removesuffix(".yaml"), path.stem) in CHANGES


PUBLISHED = {
    "sre2l": {
        "synthesize.steps": 4000, "synthesize.optimizer.lr": 0.25, "synthesize.optimizer.betas": [0.5, 0.9],
        "synthesize.blocks.size": 100, "synthesize.augment.roll.max_offset": 32,
        "synthesize.objective.bn_statistics.weight": 0.01,
        "synthesize.objective.bn_statistics.first_multiplier": 10.0, "relabel.views": 300, "evaluate.epochs": 300,
        "evaluate.loss.temperature": 20.0, "evaluate.loss.squared": False,
    },
    "cda": {
        "synthesize.augment.resized_crop.min_scale.from": 1.0, "synthesize.augment.resized_crop.min_scale.to": 0.08,
        "synthesize.augment.resized_crop.min_scale.milestone": 1.0,
    },
    "lpld": {"synthesize.objective.bn_statistics.category": 1.0, "synthesize.blocks.group": "within_class"},
    "gvbsm": {
        "synthesize.teachers.sampling": "round_robin", "synthesize.blocks.group": "class_major",
        "synthesize.objective.conv_statistics.weight": 0.01, "synthesize.objective.conv_statistics.tile": 16,
        "synthesize.objective.conv_statistics.first_multiplier": 10.0,
        "synthesize.objective.conv_statistics.drop": 0.0, "synthesize.objective.conv_statistics.average.decay": 0.4,
        "synthesize.objective.densification.temperature": 4.0, "synthesize.objective.densification.weight": 1.0,
        "synthesize.optimizer.lr": 0.1, "evaluate.loss.gamma": 0.1, "relabel.teachers.combine": "norm_mean",
    },
    "edc": {
        "synthesize.initialize.use": "mosaic", "synthesize.objective.bn_statistics.category": 0.5,
        "synthesize.objective.flatness.weight": 0.25, "synthesize.objective.flatness.decay": 0.99,
        "synthesize.objective.flatness.temperature": 4.0, "synthesize.augment.resized_crop.min_scale": 0.5,
        "synthesize.steps": 2000, "synthesize.optimizer.lr": 0.05, "evaluate.batch": 100, "evaluate.schedule.zeta": 2.0,
        "evaluate.loss.gamma": 0.025, "evaluate.average.decay": 0.99,
    },
    "rded": {
        "synthesize.steps": 0, "synthesize.initialize.factor": 2, "synthesize.initialize.candidates": 300,
        "synthesize.initialize.crops": 5, "relabel.view.shuffle": 2, "evaluate.schedule.zeta": 2.0,
    },
    "delt": {"synthesize.rounds": 8, "synthesize.initialize.order": "median", "synthesize.steps": 4000,
             "relabel.view.min_scale": 0.25},
    "fadrm": {"synthesize.stages.sizes": [200, 224, 200, 224], "synthesize.stages.keep": 0.5, "synthesize.steps": 2000,
              "relabel.teachers.norm": "batch", "relabel.teachers.batch": 8, "pack.format": "png"},
    "fadrm-plus": {"synthesize.teachers.sampling": "round_robin", "relabel.teachers.combine": "mean"},
}  # fmt: skip
"""Values of the papers and the authors' scripts for ImageNet-1K."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_values_are_those_published(name: str, tmp_path: Path) -> None:
    tree = method(name, tmp_path).model_dump(mode="json", by_alias=True)
    for path, expected in PUBLISHED[name].items():
        value: Any = tree
        for part in path.split("."):
            value = by_name(value)[part]
        assert value == expected, path


# ---- who teaches ------------------------------------------------------------------------------------------------
def teachers(run: str) -> list[str]:
    return [t.name for t in read(CONFIGS / f"{run}.yaml").squeeze.teachers]


@pytest.mark.parametrize("data", ["imagenet1k", "cifar10", "cifar100"])
def test_a_pool_grows_from_paper_to_paper(data: str) -> None:
    one, gvbsm, edc = teachers(f"{data}-rded"), teachers(f"{data}-gvbsm"), teachers(f"{data}-edc")
    assert one == gvbsm[:1] and gvbsm == edc[: len(gvbsm)] and len(edc) > len(gvbsm) > 1


def test_edc_labels_imagenet_without_efficientnet_and_with_alexnet() -> None:
    run = read(CONFIGS / "imagenet1k-edc.yaml")
    known = [t.name for t in run.squeeze.teachers]
    assert run.synthesize.teachers.pick(known) == known == [*teachers("imagenet1k-gvbsm"), "alexnet"]
    assert run.relabel is not None
    assert {*known} - {*run.relabel.teachers.pick(known)} == {"efficientnet_b0"}


def test_weights_of_torchvision_are_where_it_says() -> None:
    from torchvision import models

    found = {
        (t.arch.name, t.weights)
        for path in RUNS
        for t in read(path).squeeze.teachers
        if t.arch.use == "torchvision" and t.weights
    }
    assert len(found) >= 7
    assert found == {(name, models.get_model_weights(name)["IMAGENET1K_V1"].url) for name, _ in found}
