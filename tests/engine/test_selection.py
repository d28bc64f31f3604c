"""The selection pass on a real Ray: the same picks from any number of workers, and none of them made twice."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from raydc.condense.initialize import INITIALIZERS, Material, Pick, Place
from raydc.condense.space import Space
from raydc.config.load import merge
from raydc.engine import selection
from raydc.engine.device import device
from raydc.engine.gallery import SourceGallery
from raydc.engine.parts import read_images
from raydc.engine.selection import Selector, Work, picks, receipts, scorer, units
from raydc.errors import DataError
from tests import tiny
from tests.engine.actors import Log
from tests.engine.small import Small, small

# Ray's own: it leaves files and sockets of its processes to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
MOSAIC = {"use": "mosaic", "candidates": 12, "crops": 2}
CLASSES = range(10)
CHANGES: dict[str, Any] = {
    "data": {"subset": None},
    "engine": {"cpus_per_worker": 0.5},
    "synthesize": {"initialize": MOSAIC, "ipc": 2, "steps": 0, "blocks": {"size": 5}},
    "evaluate": {"students": []},
}


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    with tiny.ray_here():
        yield


def a_run(folder: Path, changes: dict[str, Any] | None = None) -> Small:
    return small(folder / "run", merge(CHANGES, changes or {}))


def select(made: Small) -> None:
    config = made.run.config.synthesize
    selection.select(made.run, "condensed", config, CLASSES, [ray.put(made.source)], made.emit)


def chosen(made: Small) -> list[list[Pick] | None]:
    return [picks(made.run, made.run.config.synthesize, label) for label in CLASSES]


@pytest.fixture(scope="module")
def alone(here: None, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """One worker, undisturbed."""
    made = a_run(tmp_path_factory.mktemp("alone"))
    select(made)
    return made


def files(made: Small) -> list[Path]:
    return sorted(Path(made.run.url).glob("work/selection/*/*"))


def continued(earlier: Small, folder: Path) -> Small:
    """A run like an earlier one, that finds what that one has selected."""
    made = a_run(folder)
    shutil.copytree(Path(earlier.run.url) / "work", Path(made.run.url) / "work")
    return made


def test_every_class_gets_the_picks_that_it_would_get_by_itself(alone: Small) -> None:
    run, config = alone.run, alone.run.config.synthesize
    gallery = SourceGallery(alone.source)
    teacher = selection.guide(run, scorer(run, config), device(run.config.engine))
    for label in CLASSES:
        expected = selection.SCORED["mosaic"].choose(config.initialize, run.key, label, 2, 16, gallery, teacher)
        assert picks(run, config, label) == expected and len(expected) == 8
        assert [p.score for p in expected] == sorted(p.score for p in expected)


def test_the_pass_says_its_units(alone: Small) -> None:
    assert [path.name for path in files(alone)] == ["c000000.json", "c000004.json", "c000008.json"]
    (start,) = alone.said("stage_started")
    assert (start["total"], start["done"], start["unit"]) == (3, 0, "selection")
    names = sorted(e["unit"] for e in alone.said("unit_done"))
    assert names == [f"condensed/selection/c{first:06d}" for first in (0, 4, 8)]
    assert all(e["image_steps"] == 0 and e["bytes"] > 0 and e["worker"] for e in alone.said("unit_done"))


def test_two_workers_choose_the_same(alone: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(str(tmp_path))

    class Together(Selector):
        """Begins when both have a unit, so that each has its part in the work."""

        def run(self, work: Work) -> dict[str, Any] | None:
            log.add("unit", str(os.getpid()))
            log.wait("unit", 2)
            return super().run(work)

    monkeypatch.setattr("raydc.engine.selection.Selector", Together)
    made = a_run(tmp_path, {"engine": {"workers": 2}})
    select(made)
    assert len(set(log.of("unit"))) == 2  # of what they made, a copy may have been quicker
    assert chosen(made) == chosen(alone)


def test_only_what_is_missing_is_chosen_again(alone: Small, tmp_path: Path) -> None:
    made = continued(alone, tmp_path)
    lost = files(made)[1]
    lost.unlink()
    before = tiny.stamps(*files(made))
    select(made)
    assert [e["unit"] for e in made.said("unit_done")] == ["condensed/selection/c000004"]
    assert [(e["total"], e["done"]) for e in made.said("stage_started")] == [(3, 2)]
    after = tiny.stamps(*files(made))
    assert after.pop(str(lost)) and after == before and chosen(made) == chosen(alone)
    made.events.clear()
    select(made)
    assert made.events == []


def test_a_unit_is_handed_back_after_the_class_in_hand(here: None, tmp_path: Path) -> None:
    made = a_run(tmp_path)
    asked: list[int] = []

    class Leaving(Selector):
        """Is told to go while it chooses for its second class."""

        def choose(self, label: int) -> list[Pick]:
            asked.append(label)
            if label == 5:
                self.preempt()
            return super().choose(label)

    worker = Leaving(made.run, made.run.config.synthesize, [ray.put(made.source)])
    worker.hello()
    (work,) = [w for w in units("condensed", CLASSES) if 5 in w.classes]
    assert worker.run(work) is None and asked == [4, 5] and worker.progress() == 0.5
    assert not files(made)


def test_what_cannot_be_chosen_is_reported_by_class_and_line(here: None, tmp_path: Path) -> None:
    made = a_run(tmp_path, {"synthesize": {"initialize": {"factor": 12, "candidates": 300}}})
    with pytest.raises(DataError) as error:
        select(made)
    said = str(error.value)
    assert "3 of 3 selections failed" in said and "run tiny, selection c00000" in said
    assert "takes 288 crops" in said and "the class has" in said
    assert "run.yaml:" in said and "(synthesize.initialize)" in said
    assert not made.said("unit_retried"), "it is about the input, and will not get better"


def test_a_selection_without_a_step_is_a_data_set(alone: Small, tmp_path: Path) -> None:
    made = continued(alone, tmp_path)
    made.synthesize(ray.put)
    run, config, space = made.run, made.run.config.synthesize, Space((0.0,) * 3, (1.0,) * 3)
    image, gallery = INITIALIZERS[config.initialize.use].image, SourceGallery(made.source)
    for block in made.blocks:
        for (label, index), stored in zip(block.entries, read_images(run, "condensed", block), strict=True):
            own = picks(run, config, label)
            first = image(config.initialize, Place(run.key, label, index, 2, 16, space), Material(gallery, own))
            assert np.array_equal(space.to_uint8(first).numpy().transpose(1, 2, 0), stored)


def test_units_are_ranges_of_classes_whatever_is_asked_for() -> None:
    assert [(w.name, w.classes) for w in units("a", [9, 0, 3, 3, 5])] == [
        ("c000000", (0, 3)),
        ("c000004", (5,)),
        ("c000008", (9,)),
    ]
    assert len({w.id for name in ("a", "b") for w in units(name, CLASSES)}) == 6


def test_picks_of_other_settings_are_never_taken(tmp_path: Path) -> None:
    changes: dict[str, dict[str, Any]] = {
        "same": {},
        "seed": {"seed": 1},
        "ipc": {"synthesize": {"ipc": 1}},
        "crops": {"synthesize": {"initialize": {"crops": 3}}},
        "size": {"data": {"image_size": 8}},
        "workers": {"engine": {"workers": 3}},
        "objective": {"synthesize": {"steps": 5}},
    }
    made = {name: a_run(tmp_path / name, change) for name, change in changes.items()}
    lie = {name: receipts(m.run, m.run.config.synthesize).url.rsplit("/", 1)[1] for name, m in made.items()}
    assert lie["same"] == lie["workers"] == lie["objective"]
    assert len({lie[name] for name in ("same", "seed", "ipc", "crops", "size")}) == 5


@pytest.mark.parametrize("what", ["FORMAT", "CLASSES"])
def test_picks_of_another_version_are_never_taken(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = a_run(tmp_path)
    before = receipts(made.run, made.run.config.synthesize)
    monkeypatch.setattr(selection, what, getattr(selection, what) + 1)
    assert receipts(made.run, made.run.config.synthesize) != before


def test_a_late_twin_takes_the_picks_that_are_there(here: None, tmp_path: Path) -> None:
    """Near ties may rank otherwise on another device, and blocks may have been made of what is there."""
    made = a_run(tmp_path)
    folder = receipts(made.run, made.run.config.synthesize)
    theirs: dict[str, Any] = {"picks": {}, "meta": {"worker": "the first"}}

    class Late(Selector):
        """While it chooses, another one commits."""

        def choose(self, label: int) -> list[Pick]:
            folder.write_json("c000000.json", theirs)
            return super().choose(label)

    worker = Late(made.run, made.run.config.synthesize, [ray.put(made.source)])
    worker.hello()
    assert worker.run(units("condensed", CLASSES)[0]) == theirs["meta"]
    assert folder.read_json("c000000.json") == theirs


def test_the_next_images_are_read_while_some_are_looked_at(tmp_path: Path) -> None:
    gallery, begun = SourceGallery(a_run(tmp_path).source), [threading.Event() for _ in range(6)]

    def read(number: int) -> int:
        begun[number].set()
        return number

    results = gallery.ahead(partial(read, number) for number in range(6))
    assert next(results) == 0 and begun[1].wait(5) and begun[2].wait(5)
    assert not begun[5].is_set(), "not all at once: they take memory"
    assert list(results) == [1, 2, 3, 4, 5]


def test_where_nothing_is_scored_there_is_nothing_to_do(tmp_path: Path) -> None:
    for start in ({"use": "noise"}, {"use": "real"}):
        made = small(tmp_path / start["use"] / "run", {"synthesize": {"initialize": start}})
        selection.select(made.run, "condensed", made.run.config.synthesize, CLASSES, [], made.emit)
        assert picks(made.run, made.run.config.synthesize, 3) is None
        assert made.events == [] and files(made) == []


def test_a_class_without_picks_is_told_by_its_file(tmp_path: Path) -> None:
    made = a_run(tmp_path)
    folder = receipts(made.run, made.run.config.synthesize)
    with pytest.raises(DataError, match=r"c000004\.json"):
        picks(made.run, made.run.config.synthesize, 5)
    folder.write_json("c000000.json", {"picks": {"0": []}})
    with pytest.raises(DataError, match=r"c000000\.json lacks the picks of class 1\. Remove it"):
        picks(made.run, made.run.config.synthesize, 1)


def test_photos_are_cut_in_their_own_size(tmp_path: Path) -> None:
    gallery = SourceGallery(a_run(tmp_path).source)
    first, second = gallery.originals(3, [4, 0])
    assert first.shape == second.shape == (3, 8, 8) and first.dtype == torch.uint8, "digits are stored so"
    assert torch.equal(gallery.images(3, range(2, 4)), torch.stack([gallery.image(3, 2), gallery.image(3, 3)]))
    assert gallery.image(3, 2).shape == (3, 16, 16) and gallery.count(3) > 100
