"""A student trained by several workers together is the one that a single worker would have trained."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from torch import distributed

from raydc.config import dump
from raydc.engine import evaluate
from raydc.engine.bench import Bench
from raydc.engine.run import read_run
from raydc.errors import ClusterError
from raydc.sources.base import open_source
from raydc.sources.condensed import CondensedDataset
from raydc.teachers import checkpoint
from tests import tiny
from tests.engine.small import Small, two
from tests.engine.test_live import changed
from tests.teachers.ranks import on_ranks

TOGETHER = {"combine": "norm_mean", "norm": "batch", "batch": 2}


def prepared(folder: Path, **settings: Any) -> Small:
    """Batches of 3, 3 and 2 of the 8 pictures: of the last one, two of four workers have no row."""
    made = two(folder, mode="live", teachers=TOGETHER)
    made.run = changed(made, "evaluate", **{"epochs": 3, "batch": 3, "seeds": [0], "test_every": 3, **settings})
    made.run.folder.write("run.yaml", dump(made.run.config).encode())
    return made


def trained(group: distributed.ProcessGroup | None, url: str) -> dict[str, Any]:
    """Of each kind of labels: which rows this worker had in every step, losses and accuracies, and the last state."""
    run = read_run(url)
    bench = Bench(run, open_source(run.config.data, run.key.child("holdout")), evaluate.jobs(run),
                  partial(evaluate.settled, run), group=group)  # fmt: skip
    found: dict[str, Any] = {}
    gather = CondensedDataset._gather
    for job in bench.jobs.values():
        rows: list[list[int]] = []

        def noted(data: CondensedDataset, *what: Any, rows: list[list[int]] = rows, gather: Any = gather) -> Any:
            batch = gather(data, *what)
            rows.append(batch.index.tolist())
            return batch

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CondensedDataset, "_gather", noted)
            training = bench._training(job, bench.settled(job), None)
            records = [[r.loss, r.top1 or 0.0, r.top5 or 0.0, float(r.steps)] for r in training]
        state, _ = checkpoint.unpack(training.state())
        found[job.labels] = {"rows": rows, "records": records, "state": state}
    return found


@pytest.mark.parametrize("world", [2, 4])
def test_workers_see_together_what_one_sees_and_learn_the_same(tmp_path: Path, world: int) -> None:
    """With averaged weights, and live labels that depend on who is answered together."""
    made = prepared(tmp_path / "run", average={"decay": 0.9})
    alone, ranks = trained(None, made.run.url), on_ranks(trained, world, tmp_path, made.run.url)
    for labels, one in alone.items():
        assert len(one["rows"]) == 3 * 3
        for step, rows in enumerate(one["rows"]):
            parts = [rank[labels]["rows"][step] for rank in ranks]
            dealt = [rows[r::world] or rows[:1] for r in range(world)]
            assert parts == dealt, (labels, step)
        for rank in ranks:
            assert rank[labels]["records"] == ranks[0][labels]["records"]
            assert torch.allclose(torch.tensor(rank[labels]["records"]), torch.tensor(one["records"]), atol=1e-4)
            for name, tensor in one["state"].items():
                assert torch.equal(rank[labels]["state"][name], ranks[0][labels]["state"][name]), name
                assert torch.allclose(rank[labels]["state"][name], tensor, atol=2e-4), (labels, name)


def test_how_a_student_is_split_is_no_other_protocol(tmp_path: Path) -> None:
    run = prepared(tmp_path / "run").run
    made = Small(run, None, [])  # type: ignore[arg-type]
    digests = {evaluate.protocol_digest(changed(made, "evaluate", split=n).config) for n in (1, 2, 4)}
    assert len(digests) == 1
    live = changed(made, "relabel", labellers=3)
    assert evaluate.protocol_digest(live.config) in digests


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with tiny.ray_here() as folder:
        yield folder


def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path: Path, cluster: str) -> None:
    """Two workers a student, a labeller beside them; the second worker dies. Held against two undisturbed workers."""
    made = prepared(tmp_path / "run", split=2, epochs=12, labels=["soft"], test_every=12)
    run, killed = changed(made, "relabel", labellers=1), threading.Event()
    states = run.work("students")

    def kill() -> None:
        tiny.wait_until(lambda: any(n.endswith(".json") for n in states.list()), 100, "a checkpoint")
        workers = [p for p in tiny.processes(cluster) if "TrainWorker" in "".join(p.cmdline()[:1])]
        max(workers, key=lambda p: p.pid).kill()
        killed.set()

    thread = threading.Thread(target=kill)
    thread.start()
    evaluate.train_students(run, [ray.put(made.source)], made.emit)
    thread.join()
    assert killed.is_set() and len(made.said("unit_retried")) == 1
    (name,) = evaluate.jobs(run)
    result = run.students().read_json(f"{name}.json")
    found = [[r["loss"], r["top1"] or 0.0, r["top5"] or 0.0, r["steps"]] for r in result["records"]]
    undisturbed, _ = on_ranks(trained, 2, tmp_path, made.run.url)
    assert found == undisturbed["soft"]["records"]


def test_labellers_leave_room_for_students(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = prepared(tmp_path / "run", workers=4, split=2)
    run = changed(made, "relabel", labellers=3)
    for seats, at_once in ((20, 4), (12, 4), (11, 3), (8, 2), (5, 1)):
        monkeypatch.setattr(evaluate, "room", lambda engine, seats=seats: seats)
        made.events.clear()
        assert evaluate.at_a_time(run.config, 9, 3, made.emit) == at_once
        assert len(made.said("note")) == (at_once < 4)
    monkeypatch.setattr(evaluate, "room", lambda engine: 4)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError, match="3 labellers beside a student's 2 workers need room for 5, and there is"):
        evaluate.at_a_time(run.config, 9, 3, made.emit)
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:1")
    assert evaluate.at_a_time(run.config, 9, 3, made.emit) == 4 and "wait until more comes" in made.events[-1]["text"]
