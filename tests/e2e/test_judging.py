"""How students are judged, end to end: rates chosen without the test set, controls without views, shared results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import ray

from raydc.config.load import merge, validate
from raydc.engine.run import DATA, Run
from raydc.engine.shelf import Shelf
from raydc.errors import DataError
from raydc.sources.base import open_source
from raydc.students.protocol import StudentJob, student_jobs
from tests import tiny

from .conftest import Reference

EVALUATE: dict[str, Any] = {"data": ["condensed", "random", "full"], "epochs": 4, "batch": 4, "seeds": [0],
                            "augment": ["protocol", "none"]}  # fmt: skip
KINDS = ("soft", "hard", "soft-whole", "hard-whole")


def judge(reference: Reference, folder: Path, **evaluate: Any) -> set[str]:
    """The images of the reference judged by another protocol; the students that were trained for it."""
    shutil.copytree(reference.folder, folder / "run")
    before = len(tiny.events(folder / "run"))
    assert tiny.code("evaluate", tiny.write(folder, {"evaluate": EVALUATE | evaluate})) == 0
    return trained(folder, before)


def trained(folder: Path, before: int = 0) -> set[str]:
    """The students that a run has trained itself, by what they learned from."""
    done = [e["unit"] for e in tiny.events(folder / "run")[before:] if e["kind"] == "unit_done"
            and e["stage"] == "evaluate"]  # fmt: skip
    return {unit.rsplit("-", 1)[0].replace("-convnet", "").replace("-s0", "") for unit in done}


def evaluations(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "run" / "metrics.json").read_text())["evaluations"]
    return found


@pytest.fixture(scope="module")
def first(reference: Reference, tmp_path_factory: pytest.TempPathFactory, here: None) -> Path:
    folder = tmp_path_factory.mktemp("first")
    assert judge(reference, folder, store=str(folder / "store")) == {
        f"{data}-{labels}" for data in EVALUATE["data"] for labels in KINDS
    }
    return folder


def test_another_method_takes_the_controls_from_the_store_and_trains_its_own_images_alone(
    first: Path, reference: Reference, tmp_path: Path
) -> None:
    shutil.copytree(reference.folder / "teachers", tmp_path / "run" / "teachers")
    other = {"method": {"name": "other"}, "synthesize": {"steps": 0}}
    config = tiny.write(tmp_path, {**other, "evaluate": EVALUATE | {"store": str(first / "store")}})
    assert tiny.code("run", config) == 0
    assert trained(tmp_path) == {f"condensed-{kind}" for kind in KINDS}
    shared = {(e["data"], e["labels"], e["augment"]) for e in evaluations(tmp_path) if e.get("from_store")}
    assert shared == {(d, k, a) for d in ("random", "full") for k in ("soft", "hard") for a in EVALUATE["augment"]}
    for one, two in zip(evaluations(first), evaluations(tmp_path), strict=True):
        assert (one["top1_last"] == two["top1_last"]) or one["data"] == "condensed"
        assert "from_store" not in one


@pytest.mark.parametrize(
    ("changes", "evaluate", "again"),
    [
        ({}, {"epochs": 5}, {*KINDS}),
        ({}, {"loss": {"use": "kl", "temperature": 4.0}}, {*KINDS}),
        ({"data": {"validation_fraction": 0.3}}, {}, {*KINDS}),
        ({"relabel": {"view": {"flip": 0.0}}}, {}, {"soft", "hard"}),  # whole images are whole whatever the views
        ({"seed": 3}, {}, {*KINDS}),
        ({"relabel": {"teachers": {"norm": "batch"}}}, {}, {"soft", "soft-whole"}),  # hard labels ask no teacher
        ({"relabel": {"views": 3}, "synthesize": {"steps": 4}}, {}, set()),  # full data have no stored views
    ],
    ids=["epochs", "loss", "data", "views", "seed", "labeller", "nothing of theirs"],
)
def test_what_a_result_depends_on_and_nothing_else_makes_it_anew(
    first: Path, tmp_path: Path, changes: dict[str, Any], evaluate: dict[str, Any], again: set[str]
) -> None:
    """Names of results in the store, without training anything."""
    shelf, jobs = opened(first, tmp_path, first / "store", changes, evaluate)
    taken = shelf.take(jobs, lambda *_, **__: None)
    assert {jobs[name].taught for name in jobs.keys() - taken} == again


def opened(
    first: Path, folder: Path, store: Path, changes: dict[str, Any], evaluate: dict[str, Any]
) -> tuple[Shelf, dict[str, StudentJob]]:
    """The store as a run with changes opens it, and the students of that run on full data."""
    shutil.copytree(first / "run", folder / "run")
    judged = {"evaluate": EVALUATE | evaluate | {"store": str(store)}}
    run = Run(validate(merge(merge(tiny.TREE, judged), changes), "a test"), str(folder / "run"))
    source = open_source(run.config.data, run.key.child("holdout"))
    run.folder.write_json(DATA, {"fingerprint": source.fingerprint()})
    jobs = {job.name: job for job in student_jobs(run.config.evaluate) if job.data == "full"}
    return Shelf.of(run, [ray.put(source)]), jobs


def test_a_result_that_is_not_what_its_name_says_is_refused(first: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(first / "store", store)
    for path in store.glob("*.json"):
        path.write_text(path.read_text().replace('"threads": 1', '"threads": 2'))
    shelf, jobs = opened(first, tmp_path, store, {}, {})
    with pytest.raises(DataError, match="is not the result that its name says. Remove it"):
        shelf.take(jobs, lambda *_, **__: None)


def test_metrics_are_printed_as_json_alone(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is trained: the verb only says what there is. Ten classes or ten thousand, it stays short."""
    capsys.readouterr()
    config = tiny.write(first, {"evaluate": EVALUATE | {"store": str(first / "store")}})
    assert tiny.code("evaluate", config, "--json") == 0
    out, err = capsys.readouterr()
    metrics = json.loads(out)
    assert metrics == json.loads((first / "run" / "metrics.json").read_text()) and "evaluate: done" in err
    assert len(metrics["evaluations"]) == len(metrics["by_class"]) == len(EVALUATE["data"]) * len(KINDS)
    (score,) = metrics["dd_ranking"]
    assert 0 < score["lrs"] < 1 and 0 < score["ars"] < 1
    hours = metrics["device_hours"]
    assert hours["device"] == "CPU" and all(hours[stage] > 0 for stage in ("squeeze", "synthesize", "evaluate"))
    for entry in metrics["by_class"]:
        assert sum(entry["histogram"]) == entry["classes"] == 4
    shown = [e for e in metrics["evaluations"] if (e["data"], e["labels"], e["augment"]) == ("full", "hard", "none")]
    kept = next((first / "run" / "students").glob("full-hard-whole-*.json"))
    counts = json.loads(kept.read_text())["by_class"]
    assert sum(counts["hits"]) / sum(counts["images"]) == pytest.approx(shown[0]["top1_last"])


def test_the_rate_is_chosen_on_held_out_training_images(reference: Reference, tmp_path: Path, here: None) -> None:
    """A rate that diverges and one that learns nothing are tried, and not taken."""
    judge(
        reference, tmp_path,
        data=["condensed", "full"], labels=["hard"], augment=["protocol"], epochs=20,
        select={"lr": [1e-9, 1e20, 1e-2], "fraction": 0.2}, optimizer={"use": "sgd", "lr": 1.0},
    )  # fmt: skip
    assert [(e["data"], e["lr"]) for e in evaluations(tmp_path)] == [("condensed", 1e-2), ("full", 1e-2)]
    results = [json.loads(p.read_text()) for p in (tmp_path / "run" / "students").glob("*-lr*.json")]
    assert len(results) == 2 * 3 and sum(r.get("diverged", False) for r in results) == 2
    chosen = [r for r in results if r["lr"] == 1e-2]
    assert all(len([e for e in r["records"] if e["top1"] is not None]) == 1 for r in chosen)
    starts = [e for e in tiny.events(tmp_path / "run", "stage_started") if e["stage"] == "evaluate"]
    assert starts[-1]["total"] == 2 + 2 * 3
