"""From seconds a step to seconds a run, by hand."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

from raydc.config import load
from raydc.config.schema import RunConfig
from raydc.plan import forecast as f
from raydc.plan.cost import Networks, cost
from raydc.plan.fleet import Fleet, Kind
from raydc.plan.item import Item
from raydc.plan.measured import Loop, Measured, Timing
from raydc.plan.measures import spread
from raydc.plan.passes import Pass, Passes
from raydc.plan.queue import dealt, makespan
from raydc.sources.condensed import CondensedDataset
from raydc.students.protocol import student_jobs
from raydc.teachers.feed import Images

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


def loop(step: float, first: float = 0.0) -> Loop:
    return Loop(Timing(step, step, step, 5), first)


MEASURED = Measured(
    device="cpu", workers=2, seats=4, process=4.0, ray=6.0, worker=2.4, opening=0.5, train_images=1_438,
    validation_images=359, stand_in=False, first_image=1.0, decode=0.0, launch_images=10, launch=loop(0.0286),
    begin=0.0, encode=0.0, view=loop(0.0005), shard_image=0.0, squeeze={"resnet": loop(0.06, 1.5)},
    tests={"teacher resnet": 0.0005, "student convnet": 0.0002},
    students={f"convnet {d} {k}": loop(s) for d, k, s in [
        ("stored", "soft", 0.016), ("stored", "hard", 0.015), ("full", "soft", 0.03), ("full", "hard", 0.018),
    ]},
)  # fmt: skip
"""About what an idle machine of two cores measures for the quick start."""


NETWORKS = Networks(("resnet",), 50e6, 25e6, 0, 0, forward={"resnet": 25e6}, students={"convnet": 10e6})


def listed(
    found: Measured = MEASURED, overrides: list[str] | None = None, over: Passes | None = None
) -> dict[str, Item]:
    run: RunConfig = load(str(QUICKSTART), overrides or [])
    counted = cost(run, 10, 10, 50e6, 25e6, Fleet((Kind(1),)))
    students = [f.Student(j.student.name, j.data, j.labels) for j in student_jobs(run.evaluate)]
    items = f.forecast(run, counted, students, found, NETWORKS, over or Passes())
    return {i.key.removeprefix("predicted_").removesuffix("_s"): i for i in items}


def predicted(found: Measured = MEASURED, overrides: list[str] | None = None) -> dict[str, Any]:
    return {key: item.value for key, item in listed(found, overrides).items()}


def test_every_stage_is_its_steps_and_its_starts() -> None:
    found = predicted()
    group = f.GROUP_STARTS * 2.4
    assert found["start"] == pytest.approx(10.0)
    assert found["squeeze"] == pytest.approx(0.5 + group + 1.0 + 1.5 + 20 * 23 * 0.06 + 4 * 359 * 0.0005)
    assert found["synthesize"] == pytest.approx(2.4 + 1.0 + 1.5 + 5 * 100 * 0.0286)  # ten blocks, two at a time
    assert found["relabel"] == pytest.approx(f.PIPELINE_STARTS * 2.4 + 100 * 100 * 0.0005)  # two shards, side by side
    soft = 3 * (200 * (0.016 + 0.016 + 0.03) + 3 * 10 * 359 * 0.0002)  # dealt in turn: one rank gets all soft labels
    assert found["evaluate"] == pytest.approx(group + 1.0 + 1.5 + soft)
    assert found["total"] == pytest.approx(sum(found[s] for s in
        ("start", "squeeze", "synthesize", "pack", "relabel", "evaluate", "report")))  # fmt: skip


def test_more_steps_take_longer_and_more_workers_less() -> None:
    base = predicted()
    assert predicted(overrides=["synthesize.steps=200"])["synthesize"] - base["synthesize"] == pytest.approx(14.3)
    four = predicted(dataclasses.replace(MEASURED, workers=4))
    assert base["synthesize"] - four["synthesize"] == pytest.approx(2 * 2.86)  # ten blocks in three rounds, not five


def test_a_worker_more_does_not_help_where_students_are_as_many() -> None:
    assert predicted(dataclasses.replace(MEASURED, seats=40))["evaluate"] == predicted()["evaluate"]


def test_what_the_data_alone_would_tell_is_left_open() -> None:
    found = predicted(dataclasses.replace(MEASURED, train_images=None, validation_images=None, stand_in=True))
    assert (found["squeeze"], found["evaluate"], found["total"]) == (None, None, None)
    assert found["synthesize"] == predicted()["synthesize"]


def test_a_run_without_labels_and_students_has_neither_stage() -> None:
    bare = dataclasses.replace(MEASURED, view=None, students={})
    found = predicted(bare, ["relabel=null", "evaluate.students=[]"])
    assert found["relabel"] == found["evaluate"] == 0.0


def test_units_go_to_whoever_is_free() -> None:
    assert makespan([5.0, 1.0, 1.0, 1.0, 1.0], 2) == 5.0
    assert makespan([], 2) == 0.0
    assert dealt([5.0, 1.0, 1.0, 1.0, 1.0], 2) == 7.0
    assert dealt([1.0], 3) == 1.0


@pytest.mark.parametrize(("epochs", "every", "tests"), [(100, 10, 10), (95, 10, 10), (5, 10, 1), (20, 5, 4)])
def test_the_last_epoch_is_always_tested(epochs: int, every: int, tests: int) -> None:
    assert f.tests_of(epochs, every) == tests


def test_a_timing_is_a_median_with_its_range() -> None:
    one = Timing.of([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (one.median, one.low, one.high, one.count) == (3.0, 1.0, 100.0, 5)
    both = Timing.over([one, Timing(5.0, 0.5, 6.0, 2)])
    assert (both.median, both.low, both.high, both.count) == (4.0, 0.5, 100.0, 7)
    assert spread(Timing(2.0, 1.0, 3.0, 5)) == "-50 to +50 % in 5 repetitions"


def test_caches_are_as_large_as_those_of_the_readers() -> None:
    assert inspect.signature(Images).parameters["budget"].default == f.KEPT_BYTES
    assert inspect.signature(CondensedDataset).parameters["cache_bytes"].default == f.CACHED_BYTES


SELECTION = Pass(images=3_000, looks=15_000, each=5 * 25e6, note="")
STATISTICS = Pass(images=1_438, looks=1_438, each=25e6, note="")


def test_passes_over_real_images_are_predicted_by_their_operations() -> None:
    base = predicted()
    found = listed(dataclasses.replace(MEASURED, decode=0.0), over=Passes(SELECTION, STATISTICS))
    # A test image took 0.5 ms of 25 MFLOP and 0.2 ms of 10: 20 ps an operation; two workers share them.
    chosen, collected = 2.4 + 15_000 * 0.0005 / 2, f.PIPELINE_STARTS * 2.4 + 1_438 * 0.0005 / 2
    assert found["synthesize"].value - base["synthesize"] == pytest.approx(chosen)
    assert found["squeeze"].value - base["squeeze"] == pytest.approx(collected)
    assert found["total"].value - base["total"] == pytest.approx(chosen + collected)
    assert f"the choice of real images {chosen:.1f} s" in found["synthesize"].note
    assert f"the pass for statistics {collected:.1f} s" in found["squeeze"].note


def test_real_images_are_decoded_for_a_pass() -> None:
    slow = dataclasses.replace(MEASURED, decode=0.01)
    more = listed(slow, over=Passes(SELECTION))["synthesize"].value - listed(slow)["synthesize"].value
    assert more == pytest.approx(2.4 + (15_000 * 0.0005 + 3_000 * 0.01) / 2)


def test_a_pass_that_cannot_be_predicted_is_named_in_the_total() -> None:
    found = listed(over=Passes(dataclasses.replace(SELECTION, images=None)))
    assert found["synthesize"].value is None and found["total"].value is None
    assert "the choice of real images NOT KNOWN" in found["synthesize"].note
    others = sum(v.value for k, v in found.items() if v.value is not None)
    assert found["total"].note.startswith(f"NOT KNOWN: synthesize. All others together: {others:,.0f} s")


def test_the_pace_of_a_forward_pass_comes_from_what_was_measured() -> None:
    run = load(str(QUICKSTART), [])
    counted = cost(run, 10, 10, 50e6, 25e6, Fleet((Kind(1),)))
    assert f.seconds_a_flop(counted, NETWORKS, MEASURED) == pytest.approx(2e-11)
    untested = dataclasses.replace(MEASURED, tests={})
    assert f.seconds_a_flop(counted, NETWORKS, untested) == pytest.approx(0.0005 / 25e6)
    unlabelled = dataclasses.replace(untested, view=None)
    assert f.seconds_a_flop(counted, NETWORKS, unlabelled) == pytest.approx(0.0286 / 10 / 50e6)
    assert f.seconds_a_flop(counted, NETWORKS, dataclasses.replace(unlabelled, launch=None)) is None
