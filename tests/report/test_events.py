from __future__ import annotations

import json

import numpy as np
import pytest

from raydc.errors import DataError, StorageError
from raydc.report.events import LAST_WORD_S, PART_BYTES, EventLog, read_events
from raydc.report.status import StatusFile
from raydc.store.folder import Folder

T0 = 1_795_000_000.0


class Clock:
    def __init__(self, now=T0):
        self.now = now

    def __call__(self):
        return self.now


def test_each_event_is_on_disk_at_once_and_heard_in_order(tmp_path):
    folder, heard = Folder(str(tmp_path)), []
    log = EventLog(folder, [heard.append], Clock())
    log.emit("stage_started", stage="synthesize", total=3, done=0, unit="block")
    (file,) = (tmp_path / "events").iterdir()
    assert file.name.startswith("driver-") and file.suffix == ".jsonl"
    assert [json.loads(line) for line in file.read_text().splitlines()] == heard
    assert heard[0]["t"].endswith("Z") and heard[0]["total"] == 3


def test_numpy_numbers_and_infinities_become_strict_json(tmp_path):
    log = EventLog(Folder(str(tmp_path)))
    log.emit("unit_done", stage="s", unit="b", seconds=np.float32(1.5), worker="w", image_steps=np.int64(7))
    log.emit("run_done", loss=float("nan"), where=tmp_path, rows=np.arange(2))
    first, last = read_events(Folder(str(tmp_path)))
    assert (first["seconds"], first["image_steps"]) == (1.5, 7)
    assert (last["loss"], last["where"], last["rows"]) == (None, str(tmp_path), [0, 1])


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown event kind 'unit_dun'"):
        EventLog(Folder(str(tmp_path))).emit("unit_dun")


def test_object_store_uploads_at_most_every_five_seconds_and_at_the_end(monkeypatch):
    folder, clock = Folder("memory://report-events/run"), Clock()
    writes = count_writes(monkeypatch)
    with EventLog(folder, clock=clock) as log:
        for _ in range(20):
            log.emit("progress", stage="s", text="on")
            clock.now += 1
        assert len(writes) == 4
    assert len(writes) == 5
    assert len(read_events(folder)) == 20


def test_a_long_diary_is_split_so_that_its_past_is_not_uploaded_again():
    folder, clock = Folder("memory://report-events/long"), Clock()
    with EventLog(folder, clock=clock) as log:
        for index in range(10):
            log.emit("note", text=str(index) + "x" * (PART_BYTES // 4))
            clock.now += 6
    assert len(folder.child("events").list()) > 1
    assert [event["text"][0] for event in read_events(folder)] == [str(index) for index in range(10)]


def test_a_store_that_is_away_for_a_moment_loses_nothing_and_stops_nothing(monkeypatch):
    folder, clock = Folder("memory://report-events/away"), Clock()
    log, write, away = EventLog(folder, clock=clock), Folder.write, [True]
    monkeypatch.setattr(Folder, "write", lambda *a: (_ for _ in ()).throw(DataError("away")) if away[0] else write(*a))
    log.emit("note", text="first")
    clock.now += 6
    log.emit("note", text="second")
    with pytest.raises(DataError, match="away"):
        log.close()
    away[0] = False
    log.close()
    assert [event["text"] for event in read_events(folder)] == ["first", "second"]


def test_a_store_that_is_away_is_not_asked_with_every_event(monkeypatch):
    folder, clock, tries = Folder("memory://report-events/long-away"), Clock(), []
    log = EventLog(folder, clock=clock)
    monkeypatch.setattr(Folder, "write", lambda self, *a: tries.append(self.patience) or raise_away())
    for _ in range(60):
        log.emit("note", text="on")
        clock.now += 1
    assert tries == [0.0, 0.0], "a try may take as long as the store's time-out, and the driver waits for it"


def test_the_end_is_written_with_some_patience_and_never_hides_why_a_run_failed(monkeypatch):
    folder, tries = Folder("memory://report-events/end", patience=600), []
    monkeypatch.setattr(Folder, "write", lambda self, *a: tries.append(self.patience) or raise_away())
    with EventLog(folder, [StatusFile(folder)]) as log:
        log.emit("run_failed", error="the bucket is away", code=3)
    assert tries == [LAST_WORD_S, LAST_WORD_S], "the diary and the status, once each"
    with pytest.raises(DataError, match="away"):
        EventLog(folder).emit("run_done")


def raise_away():
    raise StorageError("away")


def test_an_event_says_which_span_it_belongs_to_and_an_end_when_it_began(tmp_path):
    heard, clock = [], Clock(T0)
    log = EventLog(Folder(str(tmp_path)), [heard.append], clock)
    log.emit("run_started", run="toy", output="", versions={})
    log.emit("stage_started", stage="s", total=1, done=0, unit="block")
    clock.now += 10
    log.emit("unit_retried", stage="s", unit="b/0", worker="w", seconds=4.0, attempt=1, error="died")
    log.emit("unit_copied", stage="s", unit="b/0", node="n")
    clock.now += 10
    log.emit("unit_done", stage="s", unit="b/0", worker="w", began=T0 + 12.5, seconds=7.0, image_steps=1, bytes=1)
    log.emit("stage_done", stage="s", seconds=20.0, summary="")
    log.emit("run_done")
    (trace,) = {event["trace"] for event in heard}
    (file,) = (tmp_path / "events").iterdir()
    assert file.stem == trace
    assert [(e["span"], e["parent"]) for e in heard] == [
        ("run", None), ("s", "run"), ("s/b/0/1", "s"), ("s", "run"), ("s/b/0/2", "s"), ("s", "run"), ("run", None),
    ]  # fmt: skip
    ended = {e["kind"]: (e["began"] - T0, e["seconds"]) for e in heard if "began" in e}
    assert ended == {
        "unit_retried": (6.0, 4.0), "unit_done": (12.5, 7.0), "stage_done": (0.0, 20.0), "run_done": (0.0, 20.0),
    }  # fmt: skip


def test_events_of_all_drivers_are_read_in_order_of_time(tmp_path):
    folder, clock = Folder(str(tmp_path)), Clock()
    EventLog(folder, clock=clock).emit("note", text="one")
    clock.now += 10
    EventLog(folder, clock=clock).emit("note", text="two")
    assert [event["text"] for event in read_events(folder)] == ["one", "two"]
    assert len(folder.child("events").list()) == 2


def test_the_torn_last_line_of_a_killed_driver_is_left_out_and_a_damaged_line_named(tmp_path):
    folder = Folder(str(tmp_path))
    EventLog(folder).emit("note", text="whole")
    (file,) = (tmp_path / "events").iterdir()
    with file.open("a") as out:
        out.write('{"t": "2026-')
    assert [event["text"] for event in read_events(folder)] == ["whole"]
    file.write_text("garbage\n")
    with pytest.raises(DataError, match="line 1 is not an event"):
        read_events(folder)


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "events").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot append .* to the event log .* run the same command again"):
        EventLog(Folder(str(tmp_path))).emit("note", text="x")


def count_writes(monkeypatch):
    writes, write = [], Folder.write
    monkeypatch.setattr(Folder, "write", lambda self, name, data: writes.append(name) or write(self, name, data))
    return writes
