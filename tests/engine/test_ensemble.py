"""Several teachers label a run's images, stored or while students learn; nothing is reused that others have made."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from toys import pixels

from raydc.condense.views import render
from raydc.config.stages.relabel import LabelSetConfig
from raydc.engine import evaluate, labeler, relabel
from raydc.engine.bench import Bench
from raydc.engine.ensemble import stored, teacher_names
from raydc.engine.labeler import receipts, views_key
from raydc.engine.run import Run
from raydc.engine.weights import read_record, teacher
from raydc.errors import ConfigError
from raydc.labels.codecs import codec_of
from raydc.labels.views import column, draw
from raydc.sources.condensed import CondensedDataset
from raydc.store.folder import Folder
from raydc.store.manifest import read
from raydc.store.verify import verify
from tests.engine.small import Small, small, two
from tests.tiny import TREE

CPU = torch.device("cpu")
SIDE = TREE["data"]["image_size"]


def _place(run: Run) -> Folder:
    return receipts(run, relabel.settings(run).sets[0])


def label(made: Small) -> None:
    relabel.relabel(made.run, ["condensed"], lambda *a: made.emit("started", of=a), made.emit)


def expected(run: Run, names: list[str], shard: int, view: int) -> torch.Tensor:
    """The mean of the teachers' logits, computed from the images."""
    images = torch.from_numpy(pixels(8, SIDE)[[slice(0, 3), slice(3, 8)][shard]].transpose(0, 3, 1, 2).copy())
    key = views_key(run, "condensed", shard).child(view)
    records = draw(key, len(images), SIDE, SIDE, SIDE, relabel.settings(run).view)
    partner = column(records, "partner").astype(int)
    x = render(images, records, SIDE, images[partner], records[partner])
    with torch.inference_mode():
        return torch.stack([teacher(run, name, CPU).logits(x) for name in names]).mean(0)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are labelled in this process, by the actor's own code."""

    def through(rows: list[dict[str, Any]], actor: type, arguments: tuple[Any, ...], *_: Any) -> None:
        batch = {what: np.array([row[what] for row in rows]) for what in ("dataset", "shard")}
        said = actor(*arguments)(batch)["error"].tolist()
        assert said == [""] * len(rows), said

    nobody = SimpleNamespace(get_actor_id=lambda: None, get_node_id=lambda: "here")
    monkeypatch.setattr(relabel, "through", through)
    monkeypatch.setattr("ray.get_runtime_context", lambda: nobody)


@pytest.mark.parametrize(
    ("settings", "names"), [({}, ["resnet"]), ({"teachers": {"combine": "mean"}}, ["resnet", "other"])]
)
def test_labels_of_one_and_of_two_teachers_are_stored(
    tmp_path: Path, here: None, settings: dict[str, Any], names: list[str]
) -> None:
    made = two(tmp_path / "run", codec="fp16", **settings)
    assert not relabel.labelled(made.run) and stored(made.run.config)
    label(made)
    assert relabel.labelled(made.run) and relabel.summary(made.run, ["condensed"]).startswith("soft: 2 views")
    found = read(made.run.dataset("condensed")).label_sets["soft"]
    assert found.teachers == [f"sha256:{read_record(made.run.teachers(), n).sha256}" for n in names]
    data = CondensedDataset(made.run.dataset("condensed").url)
    for row in range(8):
        shard, first = (0, 0) if row < 3 else (1, 3)
        rows = codec_of("fp16").encode(expected(made.run, names, shard, 1).numpy())
        assert np.array_equal(data.at(row, 1)[3], codec_of("fp16").decode(rows, 4)[row - first])


def test_sets_side_by_side_keep_the_same_answers_and_the_teachers_are_asked_once(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    answers = labeler.answers
    monkeypatch.setattr(labeler, "answers", lambda *a: asked.append(len(a[1])) or answers(*a))
    also = [
        {"name": "bytes", "views": 1, "codec": "int8"},
        {"name": "best", "codec": {"use": "top_k", "k": 2}, "views": 3},
    ]
    made = two(tmp_path / "run", codec="fp16", also=also)
    label(made)
    assert asked == [3] * 3 + [5] * 3  # three views of two shards, whatever number of sets keeps them
    folder = made.run.dataset("condensed")
    sets = read(folder).label_sets
    assert {name: (s.views, s.codec.use, s.codec.k) for name, s in sets.items()} == {
        "soft": (2, "fp16", None), "bytes": (1, "int8", None), "best": (3, "top_k", 2)}  # fmt: skip
    whole, coarse, best = (CondensedDataset(folder.url, name) for name in sets)
    for row in range(8):
        logits, near, few = (data.at(row, 0)[3] for data in (whole, coarse, best))
        assert np.array_equal(whole.at(row, 0)[2], coarse.at(row, 0)[2])
        assert np.abs(logits - near).max() < 0.51 * np.ptp(logits) / 255 + 1e-2
        assert np.argsort(-logits)[:2].tolist() == np.argsort(-few)[:2].tolist()
    lost = [s.fidelity["T4"]["kl_mean"] / s.fidelity["T4"]["information"] for s in sets.values()]
    assert lost[0] < lost[1] < 0.01 < lost[2] < 1
    assert verify(folder) == []


def test_a_set_that_comes_later_leaves_the_others_alone(tmp_path: Path, here: None) -> None:
    made = two(tmp_path / "run", codec="fp16")
    label(made)
    folder = made.run.dataset("condensed")
    before = {file.path: folder.digest(file.path).sha256 for file in read(folder).label_sets["soft"].files}
    later = relabel.settings(made.run).model_copy(update={"also": [LabelSetConfig(name="late", views=1)]})
    run = Run(made.run.config.model_copy(update={"relabel": later}), made.run.folder.url)
    relabel.relabel(run, ["condensed"], lambda *a: None, made.emit)
    assert {f.path: folder.digest(f.path).sha256 for f in read(folder).label_sets["soft"].files} == before
    assert read(folder).label_sets["late"].views == 1
    other = later.model_copy(update={"also": [LabelSetConfig(name="late", views=2)]})
    with pytest.raises(ConfigError, match="label set 'late' that was made with other settings"):
        relabel.relabel(Run(run.config.model_copy(update={"relabel": other}), run.url), ["condensed"], print, made.emit)


def test_a_set_is_cut_into_the_same_files_whatever_is_made_beside_it(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labeler, "LABEL_FILE_BYTES", 2 * 5 * (24 + 8))  # two views of five images of four classes
    also = [{"name": "wide", "views": 5, "codec": "fp16"}]
    alone, both = two(tmp_path / "a", codec="int8", views=5), two(tmp_path / "b", codec="int8", views=5, also=also)
    cuts = []
    for made in (alone, both):
        label(made)
        files = read(made.run.dataset("condensed")).label_sets["soft"].files
        cuts.append([(file.images, file.views, file.sha256) for file in files])
    assert cuts[0] == cuts[1] and len(cuts[0]) > 2


def test_sets_that_nobody_makes_are_told_before_the_work(tmp_path: Path) -> None:
    run = two(tmp_path / "run", also=[{"name": "small", "views": 1}]).run

    def wanting(*sets: Any) -> Run:
        judged = run.config.evaluate.model_validate({"epochs": 2, "label_sets": sets})
        return Run(run.config.model_copy(update={"evaluate": judged}), run.url)

    evaluate.check_label_sets(wanting("soft", {"set": "small", "views": 1}))
    with pytest.raises(ConfigError, match="has 'smal', did you mean 'small'.*Add it to relabel.also"):
        evaluate.check_label_sets(wanting("smal"))
    with pytest.raises(ConfigError, match="asks for 2 views of 'small', which has 1"):
        evaluate.check_label_sets(wanting({"set": "small", "views": 2}))


def test_the_seed_that_rates_are_tried_with_is_part_of_the_protocol(tmp_path: Path) -> None:
    config = two(tmp_path / "run").run.config

    def said(seeds: list[int], select: Any) -> str:
        judged = config.evaluate.model_validate({"epochs": 2, "seeds": seeds, "select": select})
        return evaluate.protocol_digest(config.model_copy(update={"evaluate": judged}))

    rates = {"lr": [0.1, 0.2]}
    assert said([0, 1], rates) == said([0, 1, 2], rates) != said([1, 0], rates)
    assert said([0, 1], None) == said([1, 0], None)


def test_labels_of_other_teachers_are_never_taken_for_ones_own(tmp_path: Path) -> None:
    ways = [{}, {"combine": "mean"}, {"combine": "norm_mean"}, {"combine": "mean", "norm": "batch"},
            {"combine": "norm_mean", "batch": 7},
            {"combine": "mean", "names": ["other", "resnet"]}, {"names": ["other"]}]  # fmt: skip
    run = two(tmp_path / "run").run
    places, digests = set(), set()
    for way in ways:
        changed = relabel.settings(run).model_validate({"views": 2, "teachers": way})
        config = run.config.model_copy(update={"relabel": changed})
        places.add(_place(Run(config, run.folder.url)).url)
        digests.add(evaluate.protocol_digest(config))
    assert len(places) == len(digests) == len(ways)
    changed = relabel.settings(run).model_validate({"views": 2, "teachers": {"batch": 7}})
    assert _place(Run(run.config.model_copy(update={"relabel": changed}), run.folder.url)).url in places, (
        "how many images a teacher sees at once changes nothing where each is answered by itself"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": {"use": "ssrs"}}, {"warmup": 1}, {"average": {"decay": 0.9}}, {"loss": {"use": "mse_ce"}},
        {"loss": {"use": "kl", "squared": True}}, {"epochs": 3}, {"batch": 5},
        {"optimizer": {"use": "adam", "lr": 0.1}},
    ],
)  # fmt: skip
def test_another_protocol_is_another_result(tmp_path: Path, change: dict[str, Any]) -> None:
    base, other = (small(tmp_path / str(i), {"evaluate": c}).run.config for i, c in enumerate(({}, change)))
    assert evaluate.protocol_digest(base) != evaluate.protocol_digest(other)
    more = base.model_copy(update={"evaluate": base.evaluate.model_copy(update={"seeds": [0, 1, 2], "workers": 3})})
    assert evaluate.protocol_digest(base) == evaluate.protocol_digest(more)


def test_live_labels_are_made_while_students_learn_and_nothing_is_stored(tmp_path: Path) -> None:
    made = two(tmp_path / "live", mode="live", teachers={"combine": "mean", "norm": "batch", "batch": 2})
    label(made)
    assert made.said("started") == [{"kind": "started", "of": (0, 0, "shard")}]
    assert not read(made.run.dataset("condensed")).label_sets
    assert relabel.labelled(made.run) and not stored(made.run.config)
    assert relabel.summary(made.run, ["condensed"]) == "nothing is stored: resnet, other label while students learn"
    assert teacher_names(made.run.config) == ["resnet", "other"]
    jobs = evaluate.jobs(made.run)
    bench = Bench(made.run, made.source, jobs, partial(evaluate.settled, made.run))
    for name, job in jobs.items():
        bench.train(name)
        result = made.run.students().read_json(f"{name}.json")
        assert result["epochs"] == 2 and evaluate.learnt_from(made.run, job) == {"label_bytes": 0}
        assert 0 < result["input_s"] < result["wall_s"]
    assert {e["labels"] for e in evaluate.entries(made.run)} == {"soft", "hard"}
