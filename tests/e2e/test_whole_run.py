"""The quick start in small: one command from data to report, and again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from raydc.store.folder import Folder
from raydc.store.verify import verify
from tests import tiny

from .conftest import Reference

STAGES = ("squeeze", "synthesize", "pack", "relabel", "evaluate", "report")
METRICS = {
    "data", "labels", "student", "ipc", "seed",
    "top1_last", "top1_best", "top5_last", "epochs", "wall_s", "label_bytes",
}  # fmt: skip


def test_a_run_ends_well_and_says_so_in_plain_lines(reference: Reference) -> None:
    assert reference.code == 0, reference.err
    assert "Traceback" not in reference.err
    lines = reference.out.splitlines()
    for stage in STAGES:
        assert any(f"{stage}: started" in line for line in lines), stage
        assert any(f"{stage}: done in" in line for line in lines), stage
    assert any("144 of 720 training images are held out" in line for line in lines)
    assert "\x1b" not in reference.out, "escape sequences in a file"
    assert f"data set  {reference.folder}/datasets/condensed" in lines
    assert f"report    {reference.folder}/report/index.html" in lines


def test_standard_error_is_empty_when_nothing_is_wrong(reference: Reference) -> None:
    assert reference.err == ""


def test_metrics_have_the_documented_shape(reference: Reference) -> None:
    found = json.loads((reference.folder / "metrics.json").read_text())
    wanted = {(data, labels) for data in ("condensed", "random") for labels in ("soft", "hard")}
    assert {(e["data"], e["labels"]) for e in found["evaluations"]} == wanted and len(found["evaluations"]) == 4
    epochs = tiny.TREE["evaluate"]["epochs"]
    for entry in found["evaluations"]:
        assert entry.keys() >= METRICS
        assert 0 <= entry["top1_last"] <= entry["top1_best"] <= 1 and 0 <= entry["top5_last"] <= 1
        assert (entry["student"], entry["ipc"], entry["seed"], entry["epochs"]) == ("convnet", 2, 0, epochs)
        assert entry["wall_s"] > 0
        assert (entry["label_bytes"] > 0) == (entry["labels"] == "soft")
    manifest = json.loads((reference.folder / "datasets/condensed/raydc.json").read_text())
    assert found["dataset_id"] == manifest["dataset_id"]


def test_both_data_sets_are_whole_and_of_the_size_asked_for(reference: Reference) -> None:
    for name in ("condensed", "random"):
        folder = reference.folder / "datasets" / name
        assert verify(Folder(folder)) == []
        manifest = json.loads((folder / "raydc.json").read_text())
        assert manifest["images"]["count"] == 8 and manifest["images"]["size"] == [16, 16]
        assert [f["samples"] for f in manifest["images"]["files"]] == [3, 3, 2]
        assert manifest["label_sets"]["soft"]["views"] == 2
        assert (folder / "classes.txt").read_text().split() == ["1", "0", "7", "4"]
    assert tiny.code("verify", reference.folder / "datasets/condensed") == 0


def test_both_data_sets_say_how_their_networks_were_executed(reference: Reference) -> None:
    chosen = json.loads((reference.folder / "execution.json").read_text())
    assert chosen["synthesize"]["chosen"] == "eager" and "fewer than" in chosen["synthesize"]["why"]
    for name in ("condensed", "random"):
        told = reference.folder / "datasets" / name / "provenance/execution.json"
        assert json.loads(told.read_text()) == {"synthesize": chosen["synthesize"]}
        manifest = json.loads((told.parents[1] / "raydc.json").read_text())
        assert manifest["label_sets"]["soft"]["execution"] == {"name": "eager", "fidelity": {}}
    assert [found["chosen"] for found in chosen["relabel"].values()] == ["eager"]


def test_status_and_inspect_speak_json(reference: Reference, capsys) -> None:  # type: ignore[no-untyped-def]
    assert tiny.code("status", reference.folder, "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert status["state"] == "done" and status["alive"] is False and set(status["seconds"]) == set(STAGES)
    assert tiny.code("inspect", reference.folder / "datasets/condensed", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["classes"], found["image_shards"]) == (8, 4, 3)
    assert found["label_sets"]["soft"]["views"] == 2 and found["label_bytes"] > 0


def test_the_report_is_a_page_with_pictures(reference: Reference) -> None:
    page = (reference.folder / "report/index.html").read_text()
    assert "sha256:" in page and "convnet" in page
    assert (reference.folder / "report/images.png").stat().st_size > 100


def test_nothing_half_written_is_left(reference: Reference) -> None:
    assert not [p for p in reference.folder.rglob("*") if p.name.endswith(".tmp")]
    assert not list((reference.folder / "work/checkpoints").rglob("*.safetensors"))
    assert not list((reference.folder / "work/students").rglob("*.safetensors"))


def test_the_same_command_again_does_nothing_twice(reference: Reference, tmp_path: Path, here: None) -> None:
    shutil.copytree(reference.folder, tmp_path / "run")
    config = tiny.write(tmp_path)
    kept = [p for d in ("teachers", "blocks", "datasets", "students") for p in (tmp_path / "run" / d).rglob("*.*")]
    before, count = tiny.stamps(*kept), len(tiny.events(tmp_path / "run"))
    assert tiny.code("run", config) == 0
    assert tiny.stamps(*kept) == before
    again = tiny.events(tmp_path / "run")[count:]
    starts = {e["stage"]: e for e in again if e["kind"] == "stage_started"}
    for stage in ("squeeze", "synthesize", "pack", "relabel", "evaluate"):
        assert starts[stage]["done"] == starts[stage]["total"] > 0, stage
    assert sum(e["seconds"] for e in again if e["kind"] == "stage_done") < 5
    old, new = (json.loads((d / "metrics.json").read_text()) for d in (reference.folder, tmp_path / "run"))
    assert new == old
