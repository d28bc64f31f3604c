"""Actors, nodes and drivers die in the middle of every stage, and the result is that of the undisturbed run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from raydc.report.units import iso

from .chaos import Campaign, Machines
from .conftest import NO_LABELS, Undisturbed

# Ray's own: it leaves files and sockets of its processes to the collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.timeout(900)]

Start = Callable[..., Campaign]


def test_synthesis_survives_everything(
    undisturbed: Undisturbed, start: Start, cluster: Machines, tmp_path: Path
) -> None:
    run = start(undisturbed.without(tmp_path, "blocks", "datasets", "work", changes=NO_LABELS))
    run.until(lambda: len(run.in_flight()) == 4, "a checkpoint of each of four blocks")
    run.strike(cluster.workers("Synthesizer")[0].kill, hits=1)
    run.until(lambda: run.since("unit_retried"), "the block of the killed actor in the queue")

    run.strike(lambda: cluster.lose(cluster.homes("Synthesizer")[0]), hits=1)
    run.until(lambda: run.since("unit_retried"), "the block of the lost node in the queue")

    run.strike(lambda: cluster.lose(*cluster.homes("Synthesizer")[:2]), hits=2)
    run.until(lambda: run.made_since("blocks/condensed/*.json"), "a block that the last node has taken up")

    run.resubmit(hits=1)
    cluster.add(3)
    run.finish()
    run.check("synthesize")
    assert len(run.resumed()) >= 3, "blocks in flight were begun again"
    retried = run.events("unit_retried")
    assert 3 <= len(retried) <= 4, "the blocks in flight on what was lost are done again, and no others"
    undisturbed.same(run.run)


def test_labelling_survives_everything(
    undisturbed: Undisturbed, start: Start, cluster: Machines, tmp_path: Path
) -> None:
    run = start(undisturbed.without(tmp_path, "datasets", "work/pack", "work/relabel"))
    receipts = "work/relabel/soft-*/*.json"
    run.until(lambda: run.files(receipts) and len(cluster.homes("Labeler")) == 4, "a first shard, and all at work")
    run.strike(cluster.workers("Labeler")[0].kill, hits=1)
    run.until(lambda: run.made_since(receipts), "a shard after the death of an actor")

    run.strike(lambda: cluster.lose(cluster.homes("Labeler")[0]), hits=1)
    run.until(lambda: run.made_since(receipts), "a shard after the loss of a node")

    run.strike(lambda: cluster.lose(*cluster.homes("Labeler")[:2]), hits=2)
    run.until(lambda: run.made_since(receipts), "a shard after the loss of two more")

    run.resubmit(hits=1)
    cluster.add(3)
    run.finish()
    run.check("relabel")
    undisturbed.same(run.run, "labels")


def test_evaluation_survives_everything(
    undisturbed: Undisturbed, start: Start, cluster: Machines, tmp_path: Path
) -> None:
    run = start(undisturbed.without(tmp_path, "students", "metrics.json", "work/students", "work/train/students-*"))
    run.until(lambda: len(run.files("work/students/*.safetensors")) == 2, "two students in training")
    run.strike(cluster.workers("TrainWorker")[0].kill, hits=2)
    run.until(lambda: trained_since(run), "training going on with another group")

    home = cluster.homes("TrainWorker")[0]
    other = next(n for n in cluster.nodes if n not in cluster.homes("TrainWorker"))
    run.strike(lambda: cluster.lose(home, other), hits=2)
    run.until(lambda: trained_since(run), "training going on with half of the nodes")

    run.resubmit(hits=2)
    cluster.add(2)
    run.finish()
    run.check("evaluate")
    undisturbed.same(run.run, "labels", "students")


def trained_since(run: Campaign) -> bool:
    """Whether the group has failed since the last fault and its successor has written a checkpoint."""
    failed = [e["t"] for e in run.since("unit_retried")]
    states = [iso(p.stat().st_mtime) for p in run.files("work/students/*.safetensors")]
    return bool(failed) and any(state > failed[-1] for state in states)


def test_a_block_that_always_fails_stands_in_nobodys_way(
    undisturbed: Undisturbed, start: Start, tmp_path: Path
) -> None:
    markers = {p.stem: json.loads(p.read_text()) for p in undisturbed.folder.glob("blocks/condensed/*.json")}
    broken, blocked, sound = sorted(markers)[:3]
    files = [f"blocks/condensed/{b}{end}" for b in (broken, blocked, sound) for end in ("*.json", "*.tar")]
    config = undisturbed.without(tmp_path, "datasets", "work", *files, changes=NO_LABELS)
    # What a full or failing disk leaves behind: a checkpoint of nothing, and a folder where the part has to go.
    checkpoint = tmp_path / "run" / "work" / "checkpoints" / "condensed" / f"{broken}.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(bytes(100))
    part = tmp_path / "run/blocks/condensed" / markers[blocked]["part"]
    (part / "in the way").mkdir(parents=True)

    run = start(config)
    said = run.finish(4)
    assert "2 of 3 blocks failed, the others are done" in said and sound in run.markers()
    tries = [(e["kind"], e["attempt"]) for e in run.events("unit_retried") + run.events("unit_failed")
             if e["unit"] == f"condensed/{broken}"]  # fmt: skip
    assert tries == [("unit_retried", 1), ("unit_retried", 2), ("unit_failed", 3)]
    failed = {e["unit"]: e["error"] for e in run.events("unit_failed")}
    assert set(failed) == {f"condensed/{broken}", f"condensed/{blocked}"}
    assert "safetensor" in failed[f"condensed/{broken}"].lower() and "folder" in failed[f"condensed/{blocked}"]

    checkpoint.unlink()
    (part / "in the way").rmdir()
    part.rmdir()
    again = start(config)
    again.finish()
    undisturbed.same(run.run)
