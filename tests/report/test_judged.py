"""Sections on what labels cost, on classes, networks and hours."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from raydc.report.across import across
from raydc.report.by_class import BINS, ENDS, class_section, summary
from raydc.report.cost import hours
from raydc.report.hours import HELD, Share, device_hours
from raydc.report.label_curve import bytes_tick, label_curve
from raydc.report.page import render
from raydc.report.results import groups, verdicts
from raydc.report.tables import as_markdown
from raydc.report.units import iso
from tests.report import demo


# ---- label sets ---------------------------------------------------------------------------------------------------
def test_label_sets_are_compared_each_with_its_own_random_images_and_shown_in_the_order_of_the_run() -> None:
    entries = demo.label_sets()
    found = verdicts(entries)
    assert [v.labels for v in found] == [*(f"soft {name}" for name in demo.SETS), "hard"]
    assert all(len(v.differences) == 3 for v in found)
    table = as_markdown(entries)
    assert "| condensed | soft int4 | convnet | 10 |" in table and "1.59 MB" in table


def test_one_label_set_needs_no_name() -> None:
    one = [e for e in demo.label_sets() if e.get("label_set") in (None, "fp16")]
    assert [(g.called, g.data) for g in groups(one)] == [
        (labels, data) for labels in ("soft", "hard") for data in ("condensed", "random", "full")
    ]
    assert len({g.kind for g in groups(one)}) == 2
    assert label_curve(one) is None and label_curve(demo.evaluations()) is None and label_curve([]) is None


def test_the_curve_has_a_dot_with_whiskers_for_every_set_and_says_which() -> None:
    tree = label_curve(demo.label_sets())
    assert tree is not None and tree["columns"] == ["condensed", "random real"]
    (panel,) = tree["panels"]
    assert panel["chart"].count("<circle") == panel["chart"].count('class="whisker') == 2 * len(demo.SETS)
    assert "random real, int8-v8, int8, 8 views: " in panel["chart"] and "% at 84.3 kB</title>" in panel["chart"]
    places = [float(x) for x in re.findall(r'dot c-condensed" cx="([0-9.]+)"', panel["chart"])]
    assert places == sorted(places) and len(set(places)) == len(places)
    ticks = re.findall(r'tick middle"[^>]*>([^<]+)<', panel["chart"])
    assert len(ticks) >= 2 and all(t.endswith("B") for t in ticks)
    assert [row["bytes"] for row in tree["rows"]] == ["21.0 kB", "84.3 kB", "1.59 MB", "3.16 MB", "6.30 MB"]
    assert tree["rows"][0]["set"] == "top_k" and tree["rows"][0]["views"] == 8 and len(tree["rows"][0]["scores"]) == 2


def test_one_seed_has_no_whiskers_to_speak_of() -> None:
    tree = label_curve(demo.label_sets(seeds=(0,)))
    assert tree is not None
    ends = re.findall(r'whisker[^>]* y1="([0-9.]+)" y2="([0-9.]+)"', tree["panels"][0]["chart"])
    assert ends and all(a == b for a, b in ends)


@pytest.mark.parametrize(("value", "text"), [(1e4, "10 kB"), (3e6, "3 MB"), (500.0, "500 B"), (2e12, "2 TB")])
def test_ticks_of_bytes(value: float, text: str) -> None:
    assert bytes_tick(value) == text


# ---- classes ------------------------------------------------------------------------------------------------------
def test_ten_thousand_classes_take_no_more_room_than_ten() -> None:
    names = [f"n{i:08d}" for i in range(10_450)]
    images = np.full(len(names), 50)
    hits = np.arange(len(names)) % 51
    images[7] = hits[7] = 0
    found = summary(hits, images, names)
    assert found["classes"] == 10_449 and sum(found["histogram"]) == 10_449 and len(found["histogram"]) == BINS
    assert [len(found[k]) for k in ("worst", "best")] == [ENDS, ENDS]
    assert found["worst"][0] == ["n00000000", 0.0] and found["best"][0][1] == 1.0
    assert len(str(found)) < 1_000


def test_accuracies_fall_into_tenths_and_all_right_is_the_last() -> None:
    assert summary([0, 1, 5, 10], [10] * 4, "abcd")["histogram"] == [1, 1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_the_classes_at_the_ends_are_named_beside_the_curve() -> None:
    names = [f"class {i}" for i in range(40)]
    tree = class_section(demo.by_class(names))
    assert tree is not None and tree["classes"] == "40" and len(tree["panels"]) == 4
    assert [(p["student"], p["labels"]) for p in tree["panels"]][:2] == [("convnet", "soft"), ("convnet", "hard")]
    assert len(tree["panels"][0]["worst"]) == ENDS and tree["panels"][0]["data"] == "condensed"
    assert class_section([]) is None


# ---- networks, hours, page ----------------------------------------------------------------------------------------
def test_networks_stand_in_one_table_where_there_are_several() -> None:
    assert across(demo.evaluations(students=("convnet",))) is None
    tree = across(demo.evaluations())
    assert tree is not None and tree["students"] == ["convnet", "resnet"]
    assert [(row["labels"], row["data"]) for row in tree["rows"]] == [
        (labels, data) for labels in ("soft", "hard") for data in ("condensed", "random real", "all real data")
    ]
    assert all(len(row["cells"]) == 2 and "±" in row["cells"][0] for row in tree["rows"])


def unit(stage: str, end: float, seconds: float, kind: str = "unit_done") -> dict[str, object]:
    return {"t": iso(end), "kind": kind, "trace": "t", "span": f"{stage}/u/1", "parent": stage, "stage": stage,
            "worker": "w", "unit": "u", "seconds": seconds}  # fmt: skip


def test_device_hours_are_seconds_times_devices_and_count_lost_work() -> None:
    events = [unit("squeeze", 1_000.0, 360.0), unit("synthesize", 2_000.0, 720.0),
              unit("synthesize", 3_000.0, 36.0, "unit_retried"), unit("pack", 3_500.0, 100.0)]  # fmt: skip
    shares = {stage: Share("GPU", 4.0 if stage == "squeeze" else 0.5) for stage in HELD}
    found = device_hours(events, shares)
    assert found == {"device": "GPU", "squeeze": 0.4, "synthesize": pytest.approx(0.105), "relabel": 0.0,
                     "evaluate": 0.0, "total": pytest.approx(0.505)}  # fmt: skip
    tree = hours(found)
    assert tree is not None and tree["total"] == "0.505 h" and [s["name"] for s in tree["stages"]] == [
        "squeeze", "synthesize",
    ]  # fmt: skip
    assert hours({}) is None and hours(device_hours([], shares)) is None


def test_the_page_has_all_of_them_and_leaves_out_what_is_not_there() -> None:
    page = render(replace(demo.full_report(), evaluations=demo.label_sets(students=("convnet", "resnet"))))
    for heading in ("What bytes of labels buy", "Over the classes", "Across networks", "CPU-hours"):
        assert heading in page
    bare = render(replace(demo.full_report(), evaluations=[], by_class=[], device_hours={}))
    for heading in ("What bytes of labels buy", "Over the classes", "Across networks", "CPU-hours"):
        assert heading not in bare
