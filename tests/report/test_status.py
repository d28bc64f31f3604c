from __future__ import annotations

import json

import pytest

from raydc.errors import DataError
from raydc.report.describe import describe, progress_text
from raydc.report.events import EventLog, read_events
from raydc.report.status import Status, StatusFile, read_status
from raydc.report.units import iso
from raydc.store.folder import Folder
from tests import s3

T0 = 1_795_000_000.0


def feed(listener, at, kind, **fields):
    listener({"t": iso(T0 + at), "kind": kind, **fields})


def started(listener, at=0.0, total=10, done=0):
    versions = {"raydc": "0.1.0"}
    feed(listener, at, "run_started", run="toy", output="/runs/toy", driver="head-7:4321", versions=versions)
    feed(listener, at, "stage_started", stage="synthesize", total=total, done=done, unit="block")


def block(listener, at, seconds=4.0, worker="w0"):
    feed(listener, at, "unit_done", stage="synthesize", unit="b", seconds=seconds, worker=worker, image_steps=1000)


def test_rate_and_time_left_follow_from_finished_units():
    status = Status()
    started(status.apply)
    for index in range(1, 6):
        block(status.apply, 2.0 * index)
    assert (status.done, status.total) == (5, 10)
    assert status.image_steps_per_s == pytest.approx(500)
    assert status.eta_s == pytest.approx(10)


def test_before_each_worker_has_ended_a_unit_the_rate_counts_all_workers():
    status = Status()
    started(status.apply)
    feed(status.apply, 0, "workers", stage="synthesize", count=4)
    block(status.apply, 4.0)
    assert status.image_steps_per_s == pytest.approx(1000)
    assert status.eta_s == pytest.approx(9)


def test_a_resumed_stage_counts_what_was_done_before_but_not_for_the_rate():
    status = Status()
    started(status.apply, total=100, done=90)
    block(status.apply, 5.0)
    block(status.apply, 10.0)
    assert status.done == 92
    assert status.eta_s == pytest.approx(40)


def test_retries_and_the_last_error_are_kept():
    status = Status()
    started(status.apply)
    feed(status.apply, 1, "unit_retried", stage="synthesize", unit="i0-c0", attempt=1, error="worker died")
    assert status.retries == 1 and status.last_error == "block i0-c0: worker died"
    assert "1 retry" in progress_text(status)


def test_what_went_wrong_is_told_with_its_counts_its_machines_and_its_last_error():
    status = Status()
    started(status.apply)
    feed(status.apply, 1, "workers", stage="synthesize", count=4, nodes=2)
    feed(status.apply, 1, "unit_handed_back", stage="synthesize", unit="b1", worker="w", seconds=1.0)
    feed(status.apply, 2, "unit_copied", stage="synthesize", unit="b2", node="n")
    for _ in range(2):
        feed(status.apply, 3, "node_avoided", stage="synthesize", node="0123456789abcdef", error="CUDA error")
    feed(status.apply, 4, "unit_failed", stage="synthesize", unit="b3", attempt=3, error="died again\nand so on")
    lines = describe(status, T0 + 5)
    stage = next(line for line in lines if line.startswith("  synthesize:"))
    assert stage.endswith("4 workers on 2 nodes, 1 given up, 1 handed back, 1 copy, 1 node avoided")
    assert lines[-2:] == ["nodes avoided: 01234567", "last error: block b3 was given up: died again"]
    feed(status.apply, 9, "run_failed", error="1 of 10 blocks failed", code=4)
    assert "on the way: 1 given up, 1 handed back, 1 copy, 1 node avoided" in describe(status, T0 + 10)
    started(status.apply, at=20)
    assert not any("avoided" in line or "on the way" in line for line in describe(status, T0 + 21))


def test_the_status_is_read_from_any_machine_through_s3():
    with s3.bucket("runs") as bucket:
        keeper = StatusFile(Folder(f"{bucket}/toy"))
        started(keeper)
        for at in range(1, 12):
            block(keeper, float(at))
        status = read_status(Folder(f"{bucket}/toy"))
    assert status.done == 10, "written every five seconds: a request holds the driver"
    assert status.alive(T0 + 12) and "10 of 10 blocks" in "\n".join(describe(status, T0 + 12))
    assert "no sign of life for 1 h 00 min" in describe(status, T0 + 10 + 3600)[0]


def test_the_status_file_is_written_once_a_second_and_always_at_the_end(tmp_path, monkeypatch):
    folder, writes, write = Folder(str(tmp_path)), [], Folder.write
    monkeypatch.setattr(Folder, "write", lambda self, name, data: writes.append(name) or write(self, name, data))
    keeper = StatusFile(folder)
    started(keeper)
    for index in range(30):
        block(keeper, 0.1 * index)
    feed(keeper, 3.0, "stage_done", stage="synthesize", seconds=3.0, summary="fine")
    feed(keeper, 3.01, "run_done")
    assert 4 <= len(writes) <= 6
    status = read_status(folder)
    assert (status.state, status.seconds, status.summaries) == ("done", {"synthesize": 3.0}, {"synthesize": "fine"})
    json.loads((tmp_path / "status.json").read_text())


def test_a_killed_run_says_when_it_was_last_heard_of_and_what_to_do(tmp_path):
    folder = Folder(str(tmp_path))
    keeper = StatusFile(folder)
    started(keeper)
    block(keeper, 90.0)
    status = read_status(folder)
    assert status.alive(T0 + 100)
    assert "last sign of life" in "\n".join(describe(status, T0 + 100))
    lines = "\n".join(describe(status, T0 + 90 + 3 * 3600))
    assert "no sign of life for 3 h 00 min" in lines and status.updated in lines and "it resumes" in lines
    assert "from driver head-7:4321; it was killed" in lines
    assert "1 of 10 blocks" in lines
    assert not status.as_json(T0 + 90 + 3600)["alive"]


def test_stage_times_add_up_over_a_killed_driver_and_its_successor(tmp_path):
    folder = Folder(str(tmp_path))
    first = StatusFile(folder)
    started(first)
    block(first, 40.0)
    second = StatusFile(folder)
    started(second, at=1000.0, done=1)
    feed(second, 1020.0, "stage_done", stage="synthesize", seconds=20.0, summary={"images": 100})
    feed(second, 1020.0, "run_done")
    status = read_status(folder)
    assert status.seconds == {"synthesize": pytest.approx(60.0)}
    assert status.summaries == {"synthesize": "images 100"}


def test_a_failed_run_keeps_its_error(tmp_path):
    keeper = StatusFile(Folder(str(tmp_path)))
    started(keeper)
    feed(keeper, 5, "run_failed", error="block b failed 3 times: out of memory", code=4)
    text = "\n".join(describe(read_status(Folder(str(tmp_path))), T0 + 10))
    assert "failed" in text and "out of memory" in text


def test_no_run_and_a_damaged_status_are_data_errors(tmp_path):
    folder = Folder(str(tmp_path))
    with pytest.raises(DataError, match="no run at .*status.json"):
        read_status(folder)
    (tmp_path / "status.json").write_text("[1]")
    with pytest.raises(DataError, match="not the status of a run"):
        read_status(folder)


def test_a_tick_is_a_sign_of_life_that_leaves_no_trace_in_the_diary(tmp_path):
    folder, now = Folder(str(tmp_path)), [T0]
    keeper = StatusFile(folder)
    log = EventLog(folder, [keeper], clock=lambda: now[0])
    log.emit("run_started", run="toy", output="", versions={})
    now[0] += 300
    log.tick()
    assert read_status(folder).alive(now[0] + 1)
    assert len(read_events(folder)) == 1
