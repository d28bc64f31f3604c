"""The tree of spans, read back from the diary of a run with two drivers, one of which was killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raydc.report.events import EventLog, read_events
from raydc.report.timings import Span, chrome_trace, spans, stage_seconds, worker_lanes
from raydc.store.folder import Folder

T0 = 1_795_000_000.0


class Diary:
    """A run folder and its drivers, one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = Folder(str(folder)), T0

    def driver(self) -> Callable[..., None]:
        log = EventLog(self.folder, clock=lambda: self.now)

        def say(at: float, kind: str, **fields: Any) -> None:
            self.now = T0 + at
            log.emit(kind, **fields)

        return say

    def events(self) -> list[dict[str, Any]]:
        return read_events(self.folder)


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    """A killed driver; then one that resumes, on two machines, and has every kind of trouble."""
    found = Diary(tmp_path)
    say, made = found.driver(), {"stage": "synthesize", "image_steps": 10, "bytes": 7}
    say(0, "run_started", run="toy", output="", versions={})
    say(0, "stage_started", stage="synthesize", total=4, done=0, unit="block")
    say(4, "unit_done", unit="b0", worker="a", node="n0", began=T0 + 0.5, seconds=3.0, **made)
    found.now = T0 + 100
    say = found.driver()
    say(100, "run_started", run="toy", output="", versions={})
    say(100, "stage_started", stage="synthesize", total=4, done=1, unit="block")
    say(101, "workers", stage="synthesize", count=2, nodes=2)
    say(106, "unit_retried", stage="synthesize", unit="b1", worker="a", node="n0", seconds=5.0, attempt=1, error="died")
    say(108, "unit_handed_back", stage="synthesize", unit="b2", worker="b", node="n1", seconds=2.0, step=30)
    say(110, "unit_done", unit="b1", worker="c", began=T0 + 107, seconds=3.0, **made)  # its node is told by others
    say(111, "unit_copied", stage="synthesize", unit="b2", node="n1")
    say(115, "unit_done", unit="b2", worker="c", node="n1", began=T0 + 113.5, seconds=4.0, **made)  # a clock ahead
    say(115, "unit_outrun", stage="synthesize", unit="b2", worker="d", node="n0", seconds=6.0)
    say(116, "unit_failed", stage="synthesize", unit="b3", attempt=3, error="died again")  # its try had ended before
    say(120, "stage_done", stage="synthesize", seconds=20.0, summary="")
    say(121, "run_failed", error="1 of 4 blocks failed", code=4)
    return found


def row(span: Span) -> tuple[str, float, float, str]:
    return span.id, span.start - T0, span.end - T0, span.outcome


def test_the_tree_is_rebuilt_with_every_driver_stage_and_try(diary: Diary) -> None:
    found = spans(diary.events())
    assert [row(s) for s in found] == [
        ("run", 0, 4, "cut off"),
        ("synthesize", 0, 4, "cut off"),
        ("synthesize/b0/1", 0.5, 3.5, "done"),
        ("run", 100, 121, "failed"),
        ("synthesize", 100, 120, "done"),
        ("synthesize/b1/1", 101, 106, "retried"),
        ("synthesize/b2/1", 106, 108, "handed back"),
        ("synthesize/b1/2", 107, 110, "done"),
        ("synthesize/b2/3", 109, 115, "outrun"),
        ("synthesize/b2/2", 111, 115, "done"),
    ]
    ids = {(s.trace, s.id) for s in found}
    assert len(ids) == len(found)
    assert all(s.parent is None if s.id == "run" else (s.trace, s.parent) in ids for s in found)
    retried = next(s for s in found if s.outcome == "retried")
    assert (retried.worker, retried.node, dict(retried.details)) == (
        "a", "n0", {"unit": "b1", "attempt": 1, "error": "died"},
    )  # fmt: skip


def test_a_stage_in_which_the_run_fails_has_failed(tmp_path: Path) -> None:
    diary = Diary(tmp_path)
    say = diary.driver()
    say(0, "run_started", run="toy", output="", versions={})
    say(0, "stage_started", stage="pack", total=1, done=0, unit="data set")
    say(5, "run_failed", error="no space left", code=3)
    assert [row(s) for s in spans(diary.events())] == [("run", 0, 5, "failed"), ("pack", 0, 5, "failed")]


def test_lanes_show_lost_work_and_count_what_was_done(diary: Diary) -> None:
    lanes = {lane.worker: lane for lane in worker_lanes(diary.events())}
    assert {worker: (list(lane.spans), lane.units) for worker, lane in lanes.items()} == {
        "a": ([(0.5, 3.5), (101, 106)], 1),
        "b": ([(106, 108)], 0),
        "c": ([(107, 110), (111, 115)], 2),
        "d": ([(109, 115)], 0),
    }
    assert worker_lanes([]) == [] and spans([]) == []


def test_the_time_of_a_stage_counts_what_the_killed_driver_spent(diary: Diary) -> None:
    assert stage_seconds(diary.events()) == {"synthesize": pytest.approx(24.0)}


def test_the_trace_that_chrome_opens_has_a_row_for_every_worker_below_its_machine(diary: Diary) -> None:
    trace = json.loads(json.dumps(chrome_trace(diary.events())))
    rows = trace["traceEvents"]
    groups = {r["pid"]: r["args"]["name"] for r in rows if r["name"] == "process_name"}
    lanes = {(r["pid"], r["tid"]): r["args"]["name"] for r in rows if r["name"] == "thread_name"}
    drawn: dict[str, list[dict[str, Any]]] = {}
    for r in rows:
        if r["ph"] == "X":
            drawn.setdefault(f"{groups[r['pid']]}: {lanes[r['pid'], r['tid']]}", []).append(r)
    workers = {lane: [r["name"] for r in found] for lane, found in drawn.items() if "driver-" not in lane}
    assert workers == {
        "node n0: a": ["b0/1", "b1/1"],
        "node n1: b": ["b2/1"],
        "node n1: c": ["b1/2", "b2/2"],
        "node n0: d": ["b2/3"],
    }
    assert [[r["name"] for r in found] for lane, found in drawn.items() if lane.startswith("drivers: driver-")] == [
        ["run", "synthesize"],
        ["run", "synthesize"],
    ]
    b2 = drawn["node n1: c"][1]
    assert (b2["ts"], b2["dur"]) == (round(1e6 * (T0 + 111)), 4_000_000)
    assert b2["args"]["outcome"] == "done" and b2["args"]["image_steps"] == 10
    assert {r["name"] for r in rows if r["ph"] == "i"} == {"unit copied"}
    assert [r["args"] for r in rows if r["ph"] == "C"] == [{"count": 2}]


def test_rows_of_the_trace_never_cross(tmp_path: Path) -> None:
    diary = Diary(tmp_path)
    say = diary.driver()
    for at, began in ((4.0, 0.0), (8.0, 3.995)):  # the second begins before the first has been told to end
        say(at, "unit_done", stage="s", unit=f"u{at}", worker="w", began=T0 + began, seconds=4.0, image_steps=0)
    first, second = (r for r in chrome_trace(diary.events())["traceEvents"] if r["ph"] == "X")
    assert first["ts"] + first["dur"] <= second["ts"]
