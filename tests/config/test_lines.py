"""Where a value stands in a YAML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydc.config import dump, load
from raydc.config.lines import line_of, marked, place_of
from raydc.errors import ConfigError

TEXT = """\
# a comment
name: toy
synthesize:
  steps: 40
  objective:
    - use: cross_entropy
    - use: bn_statistics
      weight: 0.1
engine:
  resources: {"accelerator_type:A100.80": 1}
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("name", 2),
        ("synthesize", 3),
        ("synthesize.steps", 4),
        ("synthesize.objective.0", 6),
        ("synthesize.objective.1.weight", 8),
        (("engine", "resources", "accelerator_type:A100.80"), 10),
        (("synthesize", "objective", 1, "use"), 7),
    ],
)
def test_a_value_is_found(path: str | tuple[str | int, ...], line: int) -> None:
    assert line_of(TEXT, path) == line


@pytest.mark.parametrize(
    ("path", "line"),
    [("synthesize.objective.7.weight", 5), ("synthesize.steps.deeper", 4), ("engine.workers", 9), ("nowhere", None)],
)
def test_of_what_is_not_there_the_section_around_it_is_named(path: str, line: int | None) -> None:
    assert line_of(TEXT, path) == line


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [", "just words"])
def test_what_is_no_section_has_no_lines(text: str) -> None:
    assert line_of(text, "name") is None


def test_the_lines_of_a_dumped_run_hold_what_they_are_said_to_hold() -> None:
    text = dump(load(Path(__file__).parents[2] / "configs" / "quickstart.yaml"))
    for path in ("synthesize.steps", "engine.workers", "squeeze.teachers.0.name", "relabel.views"):
        line = line_of(text, path)
        assert line is not None and text.splitlines()[line - 1].strip(" -").startswith(path.split(".")[-1])


def test_a_mistake_names_the_file_and_line_that_it_was_made_in(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("method:\n  name: mine\nname: base\nsynthesize:\n  stpes: 3\n  ipc: -1\n")
    (tmp_path / "run.yaml").write_text(
        "extends: base.yaml\nname: Bad Name\nsynthesize:\n  ipc: 0\n  steps: 5\n  initialize: {use: noise}\n"
        "  objective:\n    - use: cross_entropy\n    - use: bn_statistic\n      weight: 0.1\n"
        "evaluate:\n  students:\n    - name: x\n  seeds: [0, one]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "run.yaml", ["engine.workers=0"])
    run, base = (str(tmp_path / name) for name in ("run.yaml", "base.yaml"))
    told = {line.split(": ")[0].strip(): line for line in str(caught.value).splitlines()[1:]}
    ends = {
        "name": f"[{run}:2]",
        "synthesize.ipc": f"[{run}:4]",
        "synthesize.stpes": f"[{base}:5]",
        "synthesize.objective.1.use": f"[{run}:9]",
        "evaluate.students.0.arch": f"[{run}:13]",
        "evaluate.seeds.1": f"[{run}:14]",
        "engine.workers": "[--set]",
    }
    assert {path: told[path].rsplit(" ", 1)[1] for path in ends} == ends
    assert not told["data"].endswith("]"), "what is nowhere has no line"


def test_aliases_and_merge_keys_are_read_as_they_always_were() -> None:
    text = "a: &a {b: 1}\nc: *a\nd: {<<: *a, e: 2}\n1: [*a]\n"
    tree = marked(text, "f")
    assert tree == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}, 1: [{"b": 1}]}
    assert place_of(tree, ("d", "e")) == "f:3" and place_of(tree, ("d", "b")) == "f:3"
    assert place_of(tree, ("c", "b")) == "f:1"
