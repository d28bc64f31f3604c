"""The digits: every method under one protocol, and EDC taken apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raydc.config import RunConfig
from tests.config.shipped import CONFIGS, METHODS, method, read, steps_between


def digits(name: str) -> RunConfig:
    return read(CONFIGS / "digits" / f"{name}.yaml")


def test_the_digits_have_every_method_under_one_protocol_with_one_pool() -> None:
    runs = [digits(path.stem) for path in METHODS]
    assert [run.method.name for run in runs] == [path.stem for path in METHODS]
    assert len({run.evaluate.model_dump_json() for run in runs}) == 1
    assert len({run.squeeze.model_dump_json() for run in runs}) == 1
    assert all(run.relabel == runs[0].relabel is not None for run in runs)
    assert {run.synthesize.ipc for run in runs} == {10}


@pytest.mark.parametrize("path", METHODS, ids=lambda p: p.stem)
def test_a_method_on_the_digits_is_that_method(path: Path, tmp_path: Path) -> None:
    """Settings are the digits' own; which components there are, is the method's. No flip: it makes no digits."""
    small, full = digits(path.stem).synthesize, method(path.stem, tmp_path).synthesize
    if full.steps:
        assert [t.use for t in small.objective] == [t.use for t in full.objective]
        assert {a.use for a in small.augment} == {a.use for a in full.augment} - {"flip"}
    same = ("teachers.sampling", "blocks.group")
    assert all(_at(small, place) == _at(full, place) for place in same)
    assert (small.steps > 0, small.rounds > 1, small.stages is None) == (
        full.steps > 0, full.rounds > 1, full.stages is None)  # fmt: skip


def _at(record: Any, place: str) -> Any:
    for part in place.split("."):
        record = getattr(record, part)
    return record


ABLATION = {
    "a": {"evaluate.loss", "evaluate.batch"},  # G-VBSM, judged as G-VBSM does
    "b": {"synthesize.initialize", "synthesize.steps", "synthesize.optimizer.lr"},
    "c": {"evaluate.schedule.zeta"},
    "d": {"synthesize.objective.flatness"},
    "e": {"evaluate.batch", "evaluate.schedule.zeta", "evaluate.loss.gamma", "relabel.teachers.names"},
    "f": {"synthesize.objective.bn_statistics.category", "synthesize.objective.conv_statistics.category"},
    "g": {"synthesize.augment.resized_crop.min_scale", "synthesize.augment.roll",
          "synthesize.objective.densification", "evaluate.average"},
}  # fmt: skip


def test_the_ablation_adds_one_choice_of_edc_after_another() -> None:
    chain = [digits("gvbsm"), *(digits(f"edc-{letter}") for letter in ABLATION)]
    found = [steps_between(one, other) for one, other in zip(chain, chain[1:], strict=False)]
    assert dict(zip(ABLATION, found, strict=True)) == ABLATION


def test_the_ablation_ends_with_the_pictures_of_edc() -> None:
    assert digits("edc-g").synthesize == digits("edc").synthesize
