"""Runs that are killed or told to stop: the same command goes on, and nothing of the result shows it."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raydc.store.folder import Folder
from raydc.store.verify import verify
from tests import tiny
from tests.tiny import Command

from .conftest import Reference


@pytest.fixture
def ray() -> Iterator[str]:
    with tiny.ray_folder() as folder:
        yield folder
        for process in tiny.processes(folder):  # only where a test has failed
            process.kill()


class Files:
    """What a run has committed so far, and what of it must never be written again."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.kept: dict[str, int] = {}

    def glob(self, pattern: str) -> list[Path]:
        return [p for p in self.run.glob(pattern) if not p.name.startswith(".")]

    def remember(self, *patterns: str) -> None:
        self.kept |= tiny.stamps(*(p for pattern in patterns for p in self.glob(pattern)))

    def check(self) -> None:
        assert tiny.stamps(*map(Path, self.kept)) == self.kept, "finished work was done again"

    def committed(self, dataset: str = "*") -> None:
        """Remember the parts of the blocks that have a marker; a part without one belongs to a block in flight."""
        for marker in self.glob(f"blocks/{dataset}/*.json"):
            self.kept |= tiny.stamps(marker, marker.parent / json.loads(marker.read_text())["part"])


@pytest.mark.timeout(600)
def test_a_run_that_is_killed_in_every_stage_ends_as_if_it_had_not_been(
    reference: Reference, tmp_path: Path, ray: str
) -> None:
    config, files = tiny.write(tmp_path), Files(tmp_path / "run")

    def killed_at(pattern: str, stage: str) -> None:
        command = Command("run", config, ray=ray, cwd=tmp_path)
        command.until(lambda: files.glob(pattern) and stage in entered(), f"{pattern} appears in {stage}")
        assert command.stop(signal.SIGKILL) == -signal.SIGKILL
        files.check()
        assert tiny.events(files.run)[-1].get("stage") == stage, "the kill came too late"

    def entered() -> list[str]:
        return [event["stage"] for event in tiny.events(files.run, "stage_started")]

    # A stage's first commit is waited for; its last must not have come when the kill strikes.
    killed_at("work/train/teacher-resnet/checkpoint_manager_snapshot.json", "squeeze")
    assert not files.glob("teachers/*.json")
    snapshot = files.glob("work/train/teacher-resnet/checkpoint_manager_snapshot.json")[0].read_text()
    epochs = json.loads(snapshot)["latest_checkpoint_result"]["metrics"]["epoch"]
    files.remember(*(f"work/squeeze/resnet/e{e:05d}.json" for e in range(1, epochs + 1)))

    cut_while_a_block_is_in_flight(Command("run", config, ray=ray, cwd=tmp_path), files)
    files.remember("teachers/*")

    killed_at("blocks/condensed/*.json", "synthesize")
    assert resumed(files), "the block in flight was begun again"
    assert len(files.glob("blocks/*/*.json")) < 8
    files.committed()

    killed_at("work/pack/condensed/*.json", "pack")
    assert not files.glob("datasets/random/raydc.json")
    files.remember("blocks/*/*", "work/pack/*/*.json")

    killed_at("work/relabel/soft-*/*.json", "relabel")
    assert len(files.glob("work/relabel/soft-*/*.json")) < 6
    files.remember("datasets/*/images/*", "work/relabel/soft-*/*.json", "datasets/condensed/labels/soft/*-000000-*")

    # Its workers outlive the driver by a moment: what they still commit counts as much.
    killed_at("students/*.json", "evaluate")
    files.remember("datasets/*/*.json", "datasets/*/labels/soft/*", "students/*.json")

    killed_at("metrics.json", "report")
    assert not files.glob("report/index.html")
    files.remember("students/*.json")

    command = Command("run", config, ray=ray, cwd=tmp_path)
    assert command.result() == 0, command.said()
    files.check()
    same_result(reference.folder, files.run)
    assert len(tiny.events(files.run, "run_started")) == 8


def cut_while_a_block_is_in_flight(command: Command, files: Files) -> None:
    """Let the driver and all of Ray die at once when a block has a checkpoint and no part."""
    command.until(lambda: any(e["stage"] == "synthesize" for e in tiny.events(files.run, "workers")), "a first worker")
    doomed = tiny.processes(command.ray)
    command.until(lambda: files.glob("work/checkpoints/condensed/*.safetensors"), "a checkpoint")
    assert command.cut(doomed) == -signal.SIGKILL
    in_flight = files.glob("work/checkpoints/condensed/*.safetensors")
    assert len(in_flight) == 1 and not files.glob(f"blocks/condensed/{in_flight[0].stem}.json")


def resumed(files: Files) -> list[str]:
    """The blocks that were not taken from their first step to their last by the worker that committed them."""
    markers = [json.loads(p.read_text()) for p in files.glob("blocks/condensed/*.json")]
    steps = tiny.TREE["synthesize"]["steps"]
    return [m["block"] for m in markers if 0 < m["meta"]["image_steps"] < steps * len(m["entries"])]


def same_result(one: Path, other: Path) -> None:
    """Two runs made the same data sets, labels and students."""
    for name in ("condensed", "random"):
        assert verify(Folder(other / "datasets" / name)) == []
        first, second = (json.loads((run / f"datasets/{name}/raydc.json").read_text()) for run in (one, other))
        assert second["dataset_id"] == first["dataset_id"] and second["revision"] == first["revision"]
        digests = [[f["sha256"] for f in m["label_sets"]["soft"]["files"]] for m in (first, second)]
        assert digests[0] == digests[1]
    results = [json.loads((run / "metrics.json").read_text())["evaluations"] for run in (one, other)]
    timeless = [[{k: v for k, v in e.items() if k != "wall_s"} for e in r] for r in results]
    assert timeless[0] == timeless[1]


def rest(reference: Reference, folder: Path, *removed: str) -> Path:
    """A copy of the reference run without some of its parts; its config."""
    shutil.copytree(reference.folder, folder / "run")
    for name in removed:
        path = folder / "run" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return tiny.write(folder)


@pytest.mark.parametrize(
    ("number", "removed", "begun"),
    [
        pytest.param(signal.SIGTERM, ["blocks", "datasets", "work"], "blocks/condensed/*.json", id="TERM-synthesize"),
        pytest.param(signal.SIGINT, ["students", "work/train"], "work/train/students-*", id="INT-evaluate"),
    ],
)
def test_a_run_that_is_told_to_stop_says_how_to_go_on(
    number: signal.Signals, removed: list[str], begun: str, reference: Reference, tmp_path: Path, ray: str
) -> None:
    config = rest(reference, tmp_path, *removed)
    command = Command("run", config, ray=ray, cwd=tmp_path)
    command.until(lambda: list((tmp_path / "run").glob(begun)), begun)
    began = time.monotonic()
    assert command.stop(number) == 130, command.said()
    assert time.monotonic() - began < 40  # seconds when the machine is idle
    errors = command.errors.read_text()
    assert "interrupted; the same command goes on" in errors and "Traceback" not in errors
    assert tiny.events(tmp_path / "run", "run_failed")[-1]["code"] == 130
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] == "failed"


def test_a_run_that_is_told_to_stop_before_it_has_begun(tmp_path: Path, ray: str) -> None:
    config = tiny.write(tmp_path)
    command = Command("run", config, ray=ray, cwd=tmp_path)
    command.until(lambda: (tmp_path / "run/run.yaml").exists(), "the run folder")
    command.until(lambda: any(p.name() == "gcs_server" for p in tiny.processes(ray)), "Ray starting")
    assert command.stop(signal.SIGTERM) == 130, command.said()
    assert "the same command goes on" in command.errors.read_text()
