"""How labelling teachers are executed: chosen once, part of what labels are, stated with what it changes of them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raydc.config.axes.execution import EXECUTIONS
from raydc.config.stages.relabel import LabelSetConfig
from raydc.engine import evaluate, labeler, relabel
from raydc.engine.behind import Behind
from raydc.engine.bench import Bench
from raydc.engine.execution import label_trial, labelling, settle
from raydc.engine.execution.kept import FILE
from raydc.engine.labeler import receipts
from raydc.engine.run import Run
from raydc.engine.shelf import Shelf
from raydc.errors import ConfigError
from raydc.labels.codecs import codec_of
from raydc.sources.condensed import CondensedDataset
from raydc.store.manifest import read
from raydc.store.schema import Executed
from raydc.store.verify import verify
from tests.engine.small import Small, two
from tests.engine.test_live import EPOCHS, changed, label_here, soft


def executed(run: Run, name: str) -> Run:
    """The run with another execution of its labelling teachers."""
    named = run.config.engine.execution.model_copy(update={"relabel": name})
    engine = run.config.engine.model_copy(update={"execution": named})
    return Run(run.config.model_copy(update={"engine": engine}), run.url)


def first_set(run: Run) -> LabelSetConfig:
    return relabel.settings(run).sets[0]


# ---- the choice -------------------------------------------------------------------------------------------------
def test_few_labels_are_made_eagerly_by_a_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = two(tmp_path / "run", codec="fp16")
    made.run.folder.write_json(FILE, {"synthesize": {"chosen": "compiled", "why": "", "tried": []}})
    label_here(made.run, made, monkeypatch)
    kept = made.run.folder.read_json(FILE)
    assert kept["synthesize"]["chosen"] == "compiled"
    ((_, found),) = kept["relabel"].items()
    assert found["chosen"] == "eager" and "fewer than the 4e+12" in found["why"] and found["tried"] == []
    assert read(made.run.dataset("condensed")).label_sets["soft"].execution == Executed(name="eager")


def test_a_choice_is_made_once_and_another_number_of_views_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = two(tmp_path / "run")
    few = {"chosen": "eager-bf16", "why": "", "tried": []}
    made.run.folder.write_json(FILE, {"relabel": {labelling.question(made.run): few}})
    monkeypatch.setattr(settle, "little", lambda *_: {**few, "chosen": "eager-fp16"})
    more = changed(made, "relabel", views=300)
    for run in (made.run, more, made.run):
        settle.settle_labelling(run, made.emit)
    assert labelling.labelling(made.run).name == "eager-bf16"
    assert labelling.labelling(more).name == "eager-fp16"
    assert labelling.labelling(executed(more, "compiled")).name == "compiled"


def test_the_share_of_a_worker_counts_what_is_stored_and_what_students_ask_for(tmp_path: Path) -> None:
    made = two(tmp_path / "run")
    assert settle.labels_of(made.run, 8) == 8 * 2  # two views; the random images are not evaluated
    live = changed(made, "relabel", mode="live")
    assert settle.labels_of(live, 8) == 8 * made.run.config.evaluate.epochs


# ---- the labels -------------------------------------------------------------------------------------------------
def test_labels_of_another_execution_are_stated_and_live_ones_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = two(tmp_path / "run", views=EPOCHS + 1, codec="fp16", teachers={"combine": "mean"})
    run = executed(made.run, "eager-bf16")
    label_here(run, made, monkeypatch)
    folder = run.dataset("condensed")
    found = read(folder).label_sets["soft"]
    assert found.execution is not None and found.execution.name == "eager-bf16" and found.execution.images == 8
    numbers = found.execution.fidelity
    assert set(numbers) == set(found.fidelity) == {"T1", "T4", "T20"}
    assert 0 < numbers["T4"]["kl_mean"] < 0.05 * numbers["T4"]["information"]
    assert found.execution.agreement is not None and 0.5 <= found.execution.agreement <= 1
    assert json.loads(folder.read("raydc.json"))["label_sets"]["soft"]["execution"]["name"] == "eager-bf16"
    assert verify(folder) == []
    lively = Small(executed(changed(made, "relabel", mode="live"), "eager-bf16"), made.source, [])
    live = Bench(lively.run, made.source, evaluate.jobs(lively.run), partial(evaluate.settled, lively.run))
    data, stored, codec = live._labelled(live.jobs[soft(live)]), CondensedDataset(folder), codec_of("fp16")
    for mine, theirs in zip(data.batches(1, 3), stored.batches(1, 3), strict=True):
        assert np.array_equal(codec.decode(codec.encode(mine.logits), 4), theirs.logits)


def test_what_another_execution_has_labelled_is_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = two(tmp_path / "run", codec="fp16")
    names = ["eager", "eager-bf16", "eager-fp16", "compiled"]
    assert len({receipts(executed(made.run, n), first_set(made.run)).url for n in names}) == len(names)
    assert receipts(made.run, first_set(made.run)).url == receipts(executed(made.run, "eager"), first_set(made.run)).url
    label_here(made.run, made, monkeypatch)
    with pytest.raises(ConfigError, match="label set 'soft' that was made with other settings"):
        label_here(executed(made.run, "eager-bf16"), made, monkeypatch)


def test_students_of_live_labels_are_told_apart_by_it_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = two(tmp_path / "run")
    label_here(made.run, made, monkeypatch)
    live = changed(made, "relabel", mode="live")
    for run, several in ((made.run, 1), (live, 2)):
        runs = [executed(run, name) for name in ("eager", "eager-bf16")]
        assert len({name for r in runs for name in evaluate.jobs(r)}) == several * len(evaluate.jobs(run))
        for name, job in evaluate.jobs(run).items():
            trees = [Shelf(r, None, {})._seen(job) for r in runs]
            assert (trees[0] == trees[1]) == (several == 1 or job.labels == "hard"), name


def test_a_shard_that_is_labelled_again_has_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests, add = [], labeler._Part.add

    def failing(self: Any, view: int, *what: Any) -> None:
        if view == 1:
            raise OSError("the disk is full")
        add(self, view, *what)

    for name in ("a", "b"):
        made = two(tmp_path / name, codec="fp16", views=3)
        run = executed(made.run, "eager-bf16")
        if name == "b":  # the first time it fails on its way
            with monkeypatch.context() as patch:
                patch.setattr(labeler._Part, "add", failing)
                with pytest.raises(Exception, match=r"shard 0 of condensed.*the disk is full"):
                    label_here(run, made, monkeypatch)
            assert receipts(run, first_set(run)).list() == []
        label_here(run, made, monkeypatch)
        digests.append([file.sha256 for file in read(run.dataset("condensed")).label_sets["soft"].files])
    assert digests[0] == digests[1]


# ---- the trial --------------------------------------------------------------------------------------------------
def attempt(made: Small, candidates: list[str], labels: float = 1e9) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(label_trial.CANDIDATES, "cpu", candidates)
        return label_trial.tried(made.run, labels, label_trial.first_images(made.run))


def paced(monkeypatch: pytest.MonkeyPatch, **paces: float) -> None:
    named = {name.replace("_", "-"): pace for name, pace in paces.items()}
    monkeypatch.setattr(label_trial._Trial, "_pace", lambda _, ensemble: named[ensemble.execution.name])


def test_the_fastest_is_chosen_and_says_how_near_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = two(tmp_path / "run")
    paced(monkeypatch, eager=1.0, eager_fp16=0.25, eager_bf16=0.5)
    monkeypatch.setattr(label_trial, "MOST_LOST", 0.5)
    found = attempt(made, ["eager-fp16", "eager-bf16"])
    assert found["chosen"] == "eager-fp16"
    assert found["why"].startswith("4.0 times as fast as eager, labels that lose ")
    assert "name the same class" in found["why"]
    assert [row["name"] for row in found["tried"]] == ["eager", "eager-fp16", "eager-bf16"]
    assert set(found["tried"][1]["fidelity"]) == {"T1", "T4", "T20"} and found["tried"][1]["images"] == 3
    json.dumps(found, allow_nan=False)


def test_labels_that_are_too_far_off_are_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = two(tmp_path / "run")
    paced(monkeypatch, eager=1.0, eager_bf16=0.1)
    monkeypatch.setattr(label_trial, "MOST_LOST", 0.0)
    found = attempt(made, ["eager-bf16"])
    assert found["chosen"] == "eager" and found["why"].startswith("eager-bf16 has labels that lose ")


def test_what_fails_is_told_and_not_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no C++ compiler\nat all")

    made = two(tmp_path / "run")
    paced(monkeypatch, eager=1.0)
    monkeypatch.setattr("raydc.teachers.executed.compiled", broken)
    found = attempt(made, ["compiled"])
    assert found["chosen"] == "eager" and found["why"] == "compiled failed (RuntimeError: no C++ compiler)"


def test_few_seconds_are_not_compiled_for(tmp_path: Path) -> None:
    found = attempt(two(tmp_path / "run"), ["compiled"], labels=3.0)
    assert found["chosen"] == "eager" and "which no compiler makes up for" in found["why"]


def test_every_execution_that_may_be_named_for_labels_exists() -> None:
    from typing import get_args

    from raydc.config.axes.execution import LabelExecutionName

    assert set(get_args(LabelExecutionName)) - {"auto"} <= set(EXECUTIONS)


# ---- the thread beside ------------------------------------------------------------------------------------------
def test_work_behind_is_done_in_order_and_its_errors_come_out() -> None:
    done: list[int] = []
    with Behind() as behind:
        for n in range(5):
            behind.do(partial(done.append, n))
    assert done == [0, 1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError), Behind() as behind:
        behind.do(lambda: done.append(1 // 0))
        behind.do(lambda: done.append(9))
    with pytest.raises(ZeroDivisionError), Behind() as behind:
        behind.do(lambda: done.append(1 // 0))
    with pytest.raises(KeyError), Behind() as behind:  # the first error is the one that counts
        behind.do(lambda: done.append(1 // 0))
        raise KeyError
    assert done == [0, 1, 2, 3, 4]
