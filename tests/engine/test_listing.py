"""What ``raydc ls`` says of methods and axes."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydc.engine.listing import AXES, differences, listing, methods
from raydc.errors import ConfigError

METHODS = Path(__file__).parents[2] / "configs" / "methods"


def entry(name: str) -> list[str]:
    """The lines of one method."""
    return next(text for text in methods(METHODS).split("\n\n") if text.startswith(f"{name}: ")).splitlines()


def test_a_method_is_shown_with_its_paper_its_numbers_and_what_it_changes() -> None:
    assert entry("cda") == [
        "cda: CDA  https://arxiv.org/abs/2311.18838",
        "  ImageNet-1K, ResNet-18 student, IPC 50: 53.5 top-1; ImageNet-21K-P IPC 20: 26.4 (published)",
        "  sre2l, but",
        "    synthesize.augment.resized_crop.min_scale: 0.08 -> {from: 1.0, to: 0.08, shape: cosine, milestone: 1.0}",
    ]


def test_a_method_is_compared_with_its_parent_and_not_with_the_first_of_the_line() -> None:
    said = entry("edc")
    assert "  gvbsm, but" in said
    assert "    synthesize.steps: 4000 -> 2000" in said  # of the parent's parent
    assert "    - synthesize.objective.densification" in said
    assert "    + synthesize.objective.flatness {weight: 0.25, decay: 0.99, temperature: 4.0}" in said
    assert any(line.startswith("    synthesize.initialize: {use: noise} -> {use: mosaic, factor: 2") for line in said)
    assert not any("conv_statistics.weight" in line for line in said)


def test_children_follow_their_parents() -> None:
    names = [text.split(":")[0] for text in methods(METHODS).split("\n\n")]
    assert names[0] == "sre2l" and {*names} == {path.stem for path in METHODS.glob("*.yaml")}
    assert names.index("gvbsm") + 1 == names.index("edc") and names.index("fadrm") + 1 == names.index("fadrm-plus")


@pytest.mark.parametrize("axis", AXES)
def test_every_component_of_an_axis_is_one_line_that_says_something(axis: str) -> None:
    lines = listing(axis, METHODS).splitlines()
    assert len(lines) == len(AXES[axis]()) >= 2
    for line in lines:
        name, _, said = line.partition(" ")
        assert name and len(said.strip()) > 8, line


def test_an_unknown_axis_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        ConfigError, match="nothing is called 'los', did you mean 'losses'.*methods, protocols, initializers"
    ):
        listing("los", METHODS)


def test_every_protocol_is_a_line_with_what_it_asks_and_where_it_is_from() -> None:
    folder = METHODS.parent / "protocols"
    head, *lines = listing("protocols", folder).splitlines()
    assert head.split() == ["protocol", "students", "epochs", "batch", "loss", "rate", "views", "source"]
    found = {line.split()[0]: line for line in lines}
    judging = {p.stem for p in folder.glob("*.yaml") if not p.stem.endswith("-labels")} - {"lite2-looks"}
    assert found.keys() == judging
    rded = " ".join(found["rded"].split())
    assert rded == "rded resnet18 300 100 kl T 20.0 0.001 crop 0.5 flip strips cutmix, live LINs-lab/RDED at 3f6453d"
    assert "of 5" in found["dd-ranking"] and "hard: crop 0.08 flip; none" in found["dd-ranking"]
    assert "whole dsa" in found["dsa-convnet"] and "cross-entropy" in found["dsa-convnet"]
    assert found["cifar"].count("the method's") == 4


def test_a_folder_without_protocols_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no protocol files in .*--folder"):
        listing("protocols", tmp_path)


def test_folders_and_files_that_hold_no_method_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no method files in .*--folder"):
        methods(tmp_path)
    (tmp_path / "a.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="holds list, expected a method"):
        methods(tmp_path)
    (tmp_path / "a.yaml").write_text("extends: gone.yaml\n")
    with pytest.raises(ConfigError, match="cannot read method file .*gone.yaml"):
        methods(tmp_path)
    (tmp_path / "a.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(ConfigError, match="more than 3 parents"):
        methods(tmp_path)


def test_differences_name_components_and_show_both_values() -> None:
    terms = [{"use": "a", "weight": 1}, {"use": "b", "weight": 2}]
    assert differences({"terms": terms}, {"terms": [terms[0], {"use": "b", "weight": 3}]}) == ["terms.b.weight: 2 -> 3"]
    assert differences({"terms": terms}, {"terms": [*terms, {"use": "c"}]}) == ["+ terms.c {}"]
    assert differences({"terms": terms}, {"terms": terms[:1]}) == ["- terms.b"]
    assert differences({"terms": terms}, {"terms": [terms[0], {"use": "b"}]}) == ["terms.b.weight: 2 -> its default"]
    assert differences({"x": {"use": "a", "n": 1}}, {"x": {"use": "b"}}) == ["x: {use: a, n: 1} -> {use: b}"]
    assert differences({"sizes": [1, 2]}, {"sizes": [1, 3]}) == ["sizes: [1, 2] -> [1, 3]"]
    assert differences({"a": 1, "b": None}, {"a": 1, "b": 2, "c": {}}) == ["b: null -> 2", "+ c {}"]
    twice = [{"use": "a", "n": 1}, {"use": "a", "n": 2}]
    assert differences({"x": twice}, {"x": twice[:1]}) == ["x: [{use: a, n: 1}, {use: a, n: 2}] -> [{use: a, n: 1}]"]
