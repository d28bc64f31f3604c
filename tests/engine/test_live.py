"""Live labels are what a stored set would have held; a pool of labellers streams the same; a student cannot tell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import ray

from raydc.engine import evaluate, labellers, relabel
from raydc.engine.bench import Bench
from raydc.engine.labellers import Piece, Pool, units
from raydc.engine.live import LiveLabels
from raydc.engine.run import Run
from raydc.errors import DataError
from raydc.labels.codecs import codec_of
from raydc.sources.condensed import CondensedDataset
from raydc.teachers import checkpoint
from raydc.teachers.training import Training
from tests import tiny
from tests.engine.small import Small, two

EPOCHS = 3
ENSEMBLES: dict[str, dict[str, Any]] = {
    "single": {},
    "together": {"teachers": {"combine": "norm_mean", "norm": "batch", "batch": 2}},
}


def changed(made: Small, section: str, **values: Any) -> Run:
    """The run with another value in a section of its config."""
    config = made.run.config
    old = getattr(config, section)
    new = old.model_validate({**old.model_dump(by_alias=True), **values})
    return Run(config.model_copy(update={section: new}), made.run.url)


def bench(run: Run, made: Small, labellers: int = 0) -> Bench:
    return Bench(run, made.source, evaluate.jobs(run), partial(evaluate.settled, run), labellers=labellers)


def trained(of: Bench, name: str) -> Training:
    """The training of a student, from its beginning."""
    return of._training(of.jobs[name], of.settled(of.jobs[name]), None)


def soft(of: Bench) -> str:
    return next(name for name, job in of.jobs.items() if job.labels == "soft")


def label_here(run: Run, made: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store labels, with the actor in this process."""

    def through(rows: list[dict[str, Any]], actor: type, arguments: tuple[Any, ...], *_: Any) -> None:
        batch = {what: np.array([row[what] for row in rows]) for what in ("dataset", "shard")}
        assert actor(*arguments)(batch)["error"].tolist() == [""] * len(rows)

    monkeypatch.setattr(relabel, "through", through)
    with monkeypatch.context() as patch:
        patch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_actor_id=lambda: "", get_node_id=str))
        relabel.relabel(run, ["condensed"], lambda *_: None, made.emit)


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_a_student_cannot_tell_live_labels_from_stored_ones_but_for_the_codec(
    tmp_path: Path, ensemble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shards: with as many stored views as epochs and one more, epochs have the same views."""
    made = two(tmp_path / "run", views=EPOCHS + 1, codec="fp16", **ENSEMBLES[ensemble])
    label_here(made.run, made, monkeypatch)
    live = bench(changed(made, "relabel", mode="live"), made)
    stored, job = CondensedDataset(made.run.dataset("condensed")), live.jobs[soft(live)]
    data = live._labelled(job)
    codec, row = codec_of("fp16"), 0
    for epoch in range(EPOCHS):
        for mine, theirs in zip(data.batches(epoch, 3), stored.batches(epoch, 3), strict=True):
            for name in ("index", "records", "images", "partners", "partner_records"):
                assert np.array_equal(getattr(mine, name), getattr(theirs, name)), name
            assert np.array_equal(codec.decode(codec.encode(mine.logits), 4), theirs.logits)
            row += len(mine.index)
    assert row == EPOCHS * 8
    # With what the codec loses the whole training is the same, to the bit.
    read = LiveLabels.read

    def kept(self: LiveLabels, *what: Any) -> tuple[np.ndarray, np.ndarray | None]:
        records, logits = read(self, *what)
        return records, None if logits is None else codec.encode(logits)

    monkeypatch.setattr(LiveLabels, "read", kept)
    monkeypatch.setattr(LiveLabels, "codec", codec)
    held = bench(made.run, made)
    one, other = (trained(b, soft(b)) for b in (held, live))
    assert list(one) == list(other)
    states = [checkpoint.unpack(t.state())[0] for t in (one, other)]
    assert all(tensor.equal(states[1][name]) for name, tensor in states[0].items())


def test_hard_targets_of_a_live_run_have_its_views_and_ask_no_teacher(tmp_path: Path) -> None:
    made = two(tmp_path / "run", mode="live")
    live = bench(made.run, made)
    (name,) = (n for n in live.jobs if live.jobs[n].labels == "hard")
    hard = trained(live, name)
    assert "teachers" not in vars(live)
    first = [share.x01 for share in hard._feed(1)]
    taught = trained(live, soft(live))
    assert all((a == b.x01).all() for a, b in zip(first, taught._feed(1), strict=True))


def test_without_soft_labels_nothing_is_taken_of_a_label_set_that_lies_there(tmp_path: Path) -> None:
    made = two(tmp_path / "run", mode="live")
    run = Run(made.run.config.model_copy(update={"relabel": None}), made.run.url)
    plain = bench(run, made)
    job = next(job for job in plain.jobs.values() if job.labels == "hard")
    assert next(plain._labelled(job).batches(0, 4)).records is None


def test_pieces_are_joined_to_rows_worth_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labellers, "UNIT_IMAGES", 10)
    pieces = [Piece("d", s, v, n) for v in range(2) for s, n in enumerate((4, 7, 12))]
    rows = list(units(iter(pieces)))
    assert [[p.images for p in row] for row in rows] == [[4, 7], [12], [4, 7], [12]]
    assert list(itertools.chain(*rows)) == pieces


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with tiny.ray_here() as folder:
        yield folder


def test_students_taught_by_a_pool_are_those_that_label_for_themselves(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two students one after another, the first resumed: one stream brings all of both."""
    monkeypatch.setattr(labellers, "UNIT_IMAGES", 6)
    made = two(tmp_path / "run", mode="live", **ENSEMBLES["together"])
    run = changed(made, "evaluate", seeds=[0, 1], labels=["soft"], epochs=5)
    alone = bench(run, made)
    trainings = {name: trained(alone, name) for name in alone.jobs}
    states = {name: [t.state() for _ in t] for name, t in trainings.items()}
    pooled = bench(run, made, labellers=2)
    kept: list[Training] = []

    def kept_training(self: Bench, *arguments: Any) -> Training:
        kept.append(original(self, *arguments))
        return kept[-1]

    original = Bench._training
    monkeypatch.setattr(Bench, "_training", kept_training)
    first, second = pooled.jobs
    run.work("students").write(f"{first}.safetensors", states[first][1])
    pooled.train(first, [second])
    pooled.train(second)
    assert [t.state() for t in kept] == [states[first][-1], states[second][-1]]
    assert pooled.pool is not None and pooled.pool.opened == 1
    with pytest.raises(ValueError, match="asked for Piece.*the stream brings nothing"):
        pooled.pool.logits(Piece("condensed", 0, 0, 3))
    pooled.close()


def test_a_labeller_that_dies_is_replaced_and_nothing_is_lost_or_doubled(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labellers, "UNIT_IMAGES", 3)
    made = two(tmp_path / "run", mode="live")
    pieces = [Piece("condensed", s, v, (3, 5)[s]) for v in range(8) for s in (0, 1)]
    own, pool = labellers.LiveLabeler(made.run, 4), Pool(made.run, 2, 4)
    pool.begin(pieces)
    for n, piece in enumerate(pieces):
        found = pool.logits(piece)
        assert np.array_equal(found, own._answered(piece.dataset, piece.shard, piece.view)["logits"])
        if n == 2:
            doomed = living(cluster)
            assert len(doomed) == 2
            doomed[0].kill()
    assert pool.opened == 1
    pool.close()
    tiny.wait_until(lambda: not living(cluster), 30, "the labellers to go")


def living(cluster: str) -> list[psutil.Process]:
    found = []
    for process in tiny.processes(cluster):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            found += [process] if "LiveLabeler" in "".join(process.cmdline()[:1]) else []
    return found


def test_what_a_labeller_cannot_read_is_told_as_it_is(tmp_path: Path, cluster: str) -> None:
    made = two(tmp_path / "run", mode="live")
    path = Path(made.run.url) / "datasets/condensed/images/train-000001.tar"
    path.write_bytes(path.read_bytes()[:-600])
    pool = Pool(made.run, 1, 4)
    pool.begin([Piece("condensed", 0, 0, 3), Piece("condensed", 1, 0, 5)])
    with pytest.raises(DataError, match="view 0 of shard 1 of condensed.*train-000001.tar has"):
        pool.logits(Piece("condensed", 0, 0, 3))
    pool.close()
    assert ray.is_initialized()
