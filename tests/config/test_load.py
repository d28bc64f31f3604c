"""YAML to a run: parents, overrides, round trips, and what counts as the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from raydc.config import RunConfig, differences, digest, dump, identity, load
from raydc.config.load import MAX_EXTENDS, merge, override, validate
from raydc.errors import ConfigError
from tests.config.shipped import CONFIGS

TREE: dict[str, Any] = {
    "name": "base",
    "method": {"name": "m"},
    "data": {"use": "digits", "image_size": 8},
    "squeeze": {"teachers": [{"name": "t", "arch": {"name": "resnet18"}, "weights": "t.safetensors"}]},
    "synthesize": {
        "ipc": 2,
        "steps": 3,
        "initialize": {"use": "noise"},
        "augment": [{"use": "resized_crop", "min_scale": 0.5}, {"use": "flip"}],
        "objective": [{"use": "cross_entropy"}, {"use": "bn_statistics", "weight": 0.02}],
    },
}


def write(folder: Path, name: str, tree: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree))
    return path


# ---- extends ----------------------------------------------------------------------------------------------------
def test_one_parent(tmp_path: Path) -> None:
    write(tmp_path, "parents/base.yaml", TREE)
    run = load(write(tmp_path, "run.yaml", {"extends": "parents/base.yaml", "name": "own", "synthesize": {"ipc": 9}}))
    assert (run.name, run.synthesize.ipc, run.synthesize.steps) == ("own", 9, 3)


def test_two_parents_the_nearer_wins(tmp_path: Path) -> None:
    write(tmp_path, "a/base.yaml", TREE)
    write(tmp_path, "a/middle.yaml", {"extends": "base.yaml", "seed": 5, "synthesize": {"ipc": 7, "steps": 8}})
    run = load(write(tmp_path, "run.yaml", {"extends": "a/middle.yaml", "synthesize": {"ipc": 9}}))
    assert (run.seed, run.synthesize.ipc, run.synthesize.steps) == (5, 9, 8)


def test_a_longer_chain_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "1.yaml", TREE)
    for n in range(2, MAX_EXTENDS + 2):
        write(tmp_path, f"{n}.yaml", {"extends": f"{n - 1}.yaml", "seed": n})
    assert load(tmp_path / f"{MAX_EXTENDS + 1}.yaml").seed == MAX_EXTENDS + 1
    with pytest.raises(ConfigError, match=rf"2\.yaml extends '1\.yaml': a chain of more than {MAX_EXTENDS} parents"):
        load(write(tmp_path, "run.yaml", {"extends": f"{MAX_EXTENDS + 1}.yaml"}))


def test_a_file_that_extends_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"a chain of more than {MAX_EXTENDS} parents"):
        load(write(tmp_path, "run.yaml", {"extends": "run.yaml"}))


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no '.*gone\.yaml', which 'extends: .*run\.yaml:1\]"):
        load(write(tmp_path, "run.yaml", {"extends": "gone.yaml"}))


def test_a_section_may_extend_a_file(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", TREE)
    write(tmp_path, "data/d.yaml", {"use": "digits", "image_size": 16, "name": "d"})
    tree = {"extends": "base.yaml", "data": {"extends": "data/d.yaml", "validation_fraction": 0.5}}
    data = load(write(tmp_path, "run.yaml", tree)).data
    assert (data.name, data.image_size, data.validation_fraction) == ("d", 16, 0.5)


def test_a_section_may_extend_a_chain_beside_that_of_the_run(tmp_path: Path) -> None:
    """A pool of teachers or a protocol from a file counts over what the method says, and under what the run says."""
    write(tmp_path, "method.yaml", TREE | {"evaluate": {"epochs": 3, "batch": 4, "test_every": 5}})
    write(tmp_path, "protocols/base.yaml", {"epochs": 6, "batch": 7})
    write(tmp_path, "protocols/own.yaml", {"extends": "base.yaml", "workers": 2})
    tree = {"extends": "method.yaml", "evaluate": {"extends": "protocols/own.yaml", "batch": 8}}
    judged = load(write(tmp_path, "run.yaml", tree)).evaluate
    assert (judged.epochs, judged.batch, judged.test_every, judged.workers) == (6, 8, 5, 2)


def test_lists_are_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", TREE)
    run = load(write(tmp_path, "run.yaml", {"extends": "base.yaml", "synthesize": {"augment": [{"use": "roll"}]}}))
    assert [a.use for a in run.synthesize.augment] == ["roll"]


def test_another_component_takes_none_of_the_parents_settings(tmp_path: Path) -> None:
    optimizer = {"use": "sgd", "lr": 0.5, "momentum": 0.1, "weight_decay": 0.3}
    write(tmp_path, "base.yaml", TREE | {"evaluate": {"optimizer": optimizer}})
    other = {"extends": "base.yaml", "evaluate": {"optimizer": {"use": "adamw", "lr": 0.1}}}
    run = load(write(tmp_path, "run.yaml", other))
    assert run.evaluate.optimizer.use == "adamw" and run.evaluate.optimizer.weight_decay == 0
    same = load(write(tmp_path, "same.yaml", {"extends": "base.yaml", "evaluate": {"optimizer": {"lr": 0.7}}}))
    assert same.evaluate.optimizer.model_dump() == {**optimizer, "lr": 0.7, "decay": "all"}


def test_null_takes_a_section_away(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", TREE | {"relabel": {"views": 3}})
    assert load(write(tmp_path, "run.yaml", {"extends": "base.yaml", "relabel": None})).relabel is None


def test_merge_leaves_its_arguments_alone() -> None:
    base, over = {"a": {"b": 1}, "l": [1]}, {"a": {"c": 2}}
    assert merge(base, over) == {"a": {"b": 1, "c": 2}, "l": [1]}
    assert base == {"a": {"b": 1}, "l": [1]} and over == {"a": {"c": 2}}


# ---- overrides --------------------------------------------------------------------------------------------------
def test_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "run.yaml", TREE)
    run = load(
        path,
        [
            "synthesize.steps=500",
            "synthesize.augment.0.min_scale={from: 1, to: 0.1}",
            "synthesize.augment.1={use: roll, max_offset: 4}",
            "pack.format=jpg",
            "output=s3://bucket/a=b",
            "relabel=null",
            "synthesize.optimizer.lr=1e-2",
            "evaluate.seeds=[3, 4]",
        ],
    )
    assert run.synthesize.steps == 500 and run.pack.format == "jpg" and run.relabel is None
    crop, roll = run.synthesize.augment
    assert crop.use == "resized_crop" and crop.min_scale.end == 0.1
    assert roll.use == "roll" and roll.max_offset == 4
    assert run.output == "s3://bucket/a=b" and run.evaluate.seeds == [3, 4] and run.synthesize.optimizer.lr == 0.01


def test_overriding_a_run_that_is_already_read() -> None:
    run = validate(TREE, "test")
    changed = override(run, ["synthesize.ipc=5"])
    assert changed.synthesize.ipc == 5 and run.synthesize.ipc == 2
    assert override(run, []) == run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synthesize.steps", "is not of the form key.path=value"),
        ("=3", "is not of the form key.path=value"),
        ("seed.x=3", "'seed' is not a section"),
        ("synthesize.augment.7.p=3", "'7' is not an index of a list of 2, counted from 0"),
        ("synthesize.augment.first.p=3", "'first' is not an index of a list of 2"),
        ("synthesize.augment.2=3", "'2' is not an index of a list of 2"),
        ("synthesize.stpes=3", "synthesize.stpes: unknown key, did you mean 'steps'?"),
        ("synthesize.steps=many", "synthesize.steps: .* found 'many'"),
    ],
)
def test_bad_overrides_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, "run.yaml", TREE | {"seed": 1}), [text])


# ---- files that are no configuration ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is not valid YAML"),
        (b"- 1\n", "holds list, expected a mapping"),
        (b"", "holds NoneType, expected a mapping"),
        (b"\xff\xfe\x00\x01", "cannot read config"),
        (b"a: !!python/object/apply:os.system [true]\n", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load(path)


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Give the path of a YAML file"):
        load(tmp_path)


# ---- which runs are the same ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    ["engine.workers=7", "output=elsewhere", "name=other", "evaluate.seeds=[9]", "method.title=x", "relabel.views=7",
     "synthesize.checkpoint_every=7", "data.titles=titles.txt"],
)  # fmt: skip
def test_where_and_how_it_is_judged_does_not_make_another_run(text: str) -> None:
    run = validate(TREE, "test")
    changed = override(run, [text])
    assert changed != run and identity(changed) == identity(run) and digest(identity(changed)) == digest(identity(run))


@pytest.mark.parametrize(
    "text",
    ["seed=1", "data.image_size=16", "squeeze.workers=2", "synthesize.ipc=3", "pack.quality=90", "engine.threads=2"],
)
def test_what_changes_the_data_set_makes_another_run(text: str) -> None:
    run = validate(TREE, "test")
    changed = override(run, [text])
    assert digest(identity(changed)) != digest(identity(run))
    (line,) = differences(identity(run), identity(changed))
    key, _, value = text.partition("=")
    assert line.startswith(f"{key}: ") and line.endswith(f" -> {value}")


def test_differences_show_both_values() -> None:
    assert differences({"a": {"b": 1}, "c": [1]}, {"a": {"b": 2}, "c": [1]}) == ["a.b: 1 -> 2"]
    assert differences({"a": 1}, {"b": "x"}) == ["a: 1 -> null", 'b: null -> "x"']
    assert differences({"a": [1, 2]}, {"a": [1, 2]}) == []
    assert differences({"a": [{"b": 1}, 2]}, {"a": [{"b": 3}, 2]}) == ["a.0.b: 1 -> 3"]
    assert differences({"a": [1, 2]}, {"a": [1]}) == ["a: [1, 2] -> [1]"]


def test_a_dump_keeps_the_names_of_the_file() -> None:
    curriculum = {"use": "resized_crop", "min_scale": {"from": 1.0, "to": 0.08}}
    run = override(validate(TREE, "test"), [f"synthesize.augment.0={curriculum}"])
    tree = yaml.safe_load(dump(run))
    expected = {"from": 1.0, "to": 0.08, "shape": "cosine", "milestone": 1.0}
    assert tree["synthesize"]["augment"][0]["min_scale"] == expected


def test_the_folder_of_a_run() -> None:
    assert validate(TREE, "test").folder == "runs/base"
    assert validate(TREE | {"output": "s3://b/x"}, "test").folder == "s3://b/x"


def test_records_are_frozen() -> None:
    run: RunConfig = validate(TREE, "test")
    with pytest.raises(ValueError, match="frozen"):
        run.seed = 3  # type: ignore[misc]


def test_an_override_changes_one_place_of_what_an_alias_repeats(tmp_path: Path) -> None:
    base = yaml.safe_load((CONFIGS / "quickstart.yaml").read_text())
    base |= {"extends": str(CONFIGS / "methods/cda.yaml"), "data": {"extends": str(CONFIGS / "datasets/digits.yaml")}}
    base["evaluate"]["optimizer"] = base["squeeze"]["teachers"][0]["train"]["optimizer"]
    text = yaml.safe_dump(base)  # one object in two places is written as an alias
    assert "*id001" in text
    (tmp_path / "aliased.yaml").write_text(text)
    run = load(tmp_path / "aliased.yaml", ["evaluate.optimizer.lr=0.5"])
    taught = run.squeeze.teachers[0].train
    assert taught is not None and (taught.optimizer.lr, run.evaluate.optimizer.lr) == (0.1, 0.5)
