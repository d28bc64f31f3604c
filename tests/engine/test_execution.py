"""What `auto` comes to: by a count where there is little to do, by a trial where there is much, and once a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raydc.config import identity
from raydc.config.load import merge, validate
from raydc.config.schema import RunConfig
from raydc.engine.execution import settle, step_trial
from raydc.engine.execution.kept import FILE, settled
from raydc.engine.execution.settle import image_steps_of, settle_synthesis, soon
from raydc.engine.run import Run
from raydc.engine.synthesize import blocks_of, recipe
from tests import tiny
from tests.engine.small import Small, small


@pytest.fixture
def made(tmp_path: Path) -> Small:
    return small(tmp_path / "run")


def config(changes: dict[str, Any] | None = None) -> RunConfig:
    return validate(merge(tiny.TREE, changes or {}), "a test")


def test_a_small_run_is_eager_by_a_count_and_says_so(made: Small) -> None:
    said: list[dict[str, Any]] = []
    settle_synthesis(
        made.run, recipe(made.run, "condensed"), made.blocks, [], lambda kind, **fields: said.append(fields)
    )
    kept = made.run.folder.read_json(FILE)["synthesize"]
    assert kept["chosen"] == "eager" and "fewer than the 4e+12" in kept["why"] and kept["tried"] == []
    assert settled(made.run).name == "eager" and said == []


def test_a_choice_is_made_once(made: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    made.run.folder.write_json(FILE, {"synthesize": {"chosen": "compiled-bf16", "why": "", "tried": []}})
    monkeypatch.setattr(settle, "soon", lambda *_: pytest.fail("asked again"))
    settle_synthesis(made.run, recipe(made.run, "condensed"), [], [], lambda *_, **__: None)
    assert settled(made.run).name == "compiled-bf16"


def test_what_the_config_names_is_not_tried(made: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    named = made.run.config.engine.execution.model_copy(update={"synthesize": "eager-bf16"})
    engine = made.run.config.engine.model_copy(update={"execution": named})
    run = Run(made.run.config.model_copy(update={"engine": engine}), made.run.url)
    settle_synthesis(run, recipe(run, "condensed"), [], [], lambda *_, **__: None)
    assert settled(run).name == "eager-bf16" and not run.folder.exists(FILE)


def test_much_work_is_for_a_trial() -> None:
    run = Run(config(), "")
    assert soon(run, 100.0, 3) is not None
    assert soon(run, 1e12, 3) is None


def test_the_share_is_a_workers() -> None:
    whole = config({"synthesize": {"steps": 10}})
    run = Run(whole, "")
    blocks = blocks_of(run, ["a", "b", "c"])
    assert image_steps_of(run, blocks) == 10 * sum(map(len, blocks)) / whole.engine.workers


def test_another_execution_is_another_run() -> None:
    assert identity(config()) != identity(config({"engine": {"execution": {"synthesize": "eager"}}}))


# ---- the trial --------------------------------------------------------------------------------------------------
def attempt(made: Small, candidates: list[str], share: float = 1e9) -> dict[str, Any]:
    block = made.blocks[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(step_trial.CANDIDATES, "cpu", candidates)
        return step_trial.tried(made.run, recipe(made.run, "condensed"), (block,), share, made.source)


def test_the_fastest_is_chosen_and_the_reason_is_a_measurement(made: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    paces = {"eager": 1.0, "eager-fp16": 0.5, "eager-bf16": 0.1}
    monkeypatch.setattr(step_trial._Trial, "_pace", lambda _, synthesis: paces[synthesis.guides[0].execution.name])
    found = attempt(made, ["eager-fp16", "eager-bf16"])
    assert found["chosen"] == "eager-bf16" and found["why"].startswith("10.0 times as fast as eager, gradient cosine ")
    assert [row["name"] for row in found["tried"]] == ["eager", "eager-fp16", "eager-bf16"]
    json.dumps(found, allow_nan=False)


def test_what_pulls_another_way_is_not_chosen(made: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_trial._Trial, "_pace", lambda _, s: 0.1 if s.guides[0].execution.name != "eager" else 1.0)
    monkeypatch.setitem(step_trial.LEAST_COSINE, "bf16", 1.1)
    found = attempt(made, ["eager-bf16"])
    assert found["chosen"] == "eager" and "eager-bf16 has gradient cosine" in found["why"]


def test_what_fails_is_told_and_not_chosen(made: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no C++ compiler\nat all")

    monkeypatch.setattr("raydc.condense.observer.compiled", broken)
    monkeypatch.setattr(step_trial._Trial, "_pace", lambda *_: 1.0)
    found = attempt(made, ["compiled"])
    assert found["chosen"] == "eager" and found["why"] == "compiled failed (RuntimeError: no C++ compiler)"


def test_little_work_by_the_clock_is_not_compiled_for(made: Small) -> None:
    found = attempt(made, ["compiled"], share=30.0)
    assert found["chosen"] == "eager" and "which no compiler makes up for" in found["why"]
