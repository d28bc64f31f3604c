"""A calibration measures every part of a run by the run's own parts, promises nothing that they do not keep, and
leaves nothing behind."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raydc.config.load import merge, validate
from raydc.config.schema import RunConfig
from raydc.engine.calibration.calibrate import _data, calibrate
from raydc.engine.calibration.probe import Probe
from raydc.engine.device import device
from raydc.engine.inspection import planned
from raydc.errors import ClusterError
from raydc.plan.fleet import Fleet, Kind
from raydc.plan.measured import Measured, student_kind
from tests import tiny


def config(folder: Path, changes: dict[str, Any] | None = None) -> RunConfig:
    return validate(merge(merge(tiny.TREE, {"output": str(folder / "run")}), changes or {}), "a test")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunConfig, Measured, Path]]:
    """The tiny run measured on a Ray of its own, with a student on real data too, and where its workers wrote."""
    folder = tmp_path_factory.mktemp("calibrate")
    wanted = config(folder, {"engine": {"workers": 2}, "evaluate": {"data": ["condensed", "random", "full"]}})
    with pytest.MonkeyPatch.context() as patch:
        scratch = folder / "tmp"
        scratch.mkdir()
        patch.setenv("TMPDIR", str(scratch))
        patch.setattr(tempfile, "tempdir", None)
        with tiny.ray_here():
            patch.setattr("raydc.engine.calibration.calibrate.SECONDS", 0.1)
            patch.setattr("raydc.engine.calibration.calibrate.STUDENT_SECONDS", 0.1)
            found = calibrate(wanted)
        yield wanted, found, folder
    tempfile.tempdir = None


def test_everything_that_a_run_does_is_measured(calibrated: tuple[RunConfig, Measured, Path]) -> None:
    _, found, _ = calibrated
    assert found.device == "cpu" and found.workers == 2 and found.launch_images == 3
    assert found.train_images and found.validation_images and not found.stand_in
    assert found.rate and found.launch and found.view and found.view.step.median > 0 and found.encode > 0
    assert set(found.squeeze) == {"resnet"}
    assert set(found.tests) == {"teacher resnet", "student convnet"}
    assert set(found.students) == {student_kind("convnet", d, k) for d in ("random", "full") for k in ("soft", "hard")}
    json.dumps(found.as_dict(), allow_nan=False)


def test_the_plan_then_names_every_stage_and_the_whole(calibrated: tuple[RunConfig, Measured, Path]) -> None:
    wanted, found, _ = calibrated
    tree = planned(wanted, Fleet((Kind(2, found.rate),)), found).as_dict()
    stages = ("start", "squeeze", "synthesize", "pack", "relabel", "evaluate", "report")
    assert tree["predicted_total_s"] == pytest.approx(sum(tree[f"predicted_{s}_s"] for s in stages))
    assert tree["rate"] == found.rate and tree["synthesis_hours"] > 0


def test_nothing_is_left(calibrated: tuple[RunConfig, Measured, Path]) -> None:
    _, _, folder = calibrated
    assert not (folder / "run").exists()
    assert [p for p in (folder / "tmp").iterdir() if "calibrate" in p.name] == []


def test_a_gpu_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, said = "raydc.engine.calibration.calibrate", "a worker asks for 1 GPUs, and no node offers that"
    monkeypatch.setattr(f"{module}.lacking", lambda _: said)
    monkeypatch.setattr(f"{module}.cluster", tiny.ray_folder)
    with pytest.raises(ClusterError, match="1 GPUs.*Calibrate on a machine like those of the run"):
        calibrate(config(tmp_path, {"engine": {"gpus_per_worker": 1}}))


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Probe]:
    """A probe in this process, for a network that is not so small that calls cost more than its arithmetic."""
    yield from _probe(config(tmp_path, {"data": {"image_size": 32}, "synthesize": {"steps": 1_000}}))


def _probe(wanted: RunConfig) -> Iterator[Probe]:
    data = _data(wanted)
    made = Probe(wanted, [])
    made.device, made.source, made.classes = device(wanted.engine), data.source, list(data.source.classes)
    made.together = 1
    try:
        yield made
    finally:
        made.close()


def test_a_measured_step_is_a_step_of_a_block(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the loop as the actor runs it, in turns, by the process's own time: others compete for this machine."""
    from raydc.condense.synthesize import Synthesis
    from raydc.engine.block_maker import BlockMaker
    from raydc.engine.calibration import probe as module
    from raydc.engine.synthesize import recipe

    monkeypatch.setattr(module.time, "perf_counter", time.process_time)
    probe.teachers(["resnet"])
    maker, ratios = BlockMaker(probe.run, recipe(probe.run, "condensed"), probe.source), []
    for _ in range(5):
        measured = probe.blocks(0.2, probe.execution()["chosen"])["loop"].step.median
        synthesis, began = maker.synthesis(probe.launch), time.process_time()

        def until(block: Synthesis) -> bool:
            return block.done < 40

        synthesis.run(until)
        ratios.append(measured * 40 / (time.process_time() - began))
    assert 0.6 < float(np.median(ratios)) < 1.5


def test_data_that_is_not_here_is_stood_in_for(tmp_path: Path) -> None:
    """A bucket that nobody can reach, a hundred classes, weights that are nowhere: all but the counts is measured."""
    teacher = {**tiny.TREE["squeeze"]["teachers"][0], "weights": "s3://nowhere/weights.safetensors"}
    del teacher["train"]
    changes = {
        "data": {"use": "folders", "train": "s3://nowhere/train", "classes": 100, "image_size": 16},
        "squeeze": {"teachers": [teacher]},
        "synthesize": {"initialize": {"use": "real"}, "blocks": {"size": 8}},
        "relabel": {"codec": "int8"},
    }
    wanted = config(tmp_path, changes)
    assert _data(wanted).stand_in
    with torch.random.fork_rng(devices=[]):
        for made in _probe(wanted):
            assert made.real()["decode"] > 0
            made.teachers(["resnet"])
            assert made.blocks(0.0, "eager")["images"] == 8
            assert made.labels(0.0)["loop"].step.median > 0
            assert made.student(0, 0.0)["loop"].step.median > 0
    assert not (tmp_path / "run").exists()


def test_numbers_without_real_data_are_open(tmp_path: Path, calibrated: tuple[RunConfig, Measured, Path]) -> None:
    wanted, found, _ = calibrated
    unknown = dataclasses.replace(found, train_images=None, validation_images=None, stand_in=True)
    tree = planned(wanted, Fleet((Kind(1),)), unknown).as_dict()
    assert tree["predicted_total_s"] is None and tree["predicted_synthesize_s"] > 0
