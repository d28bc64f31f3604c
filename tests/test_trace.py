"""The verb that prints who worked when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raydc.report.events import EventLog
from raydc.store.folder import Folder
from tests.tiny import code, write


def test_a_trace_is_json_for_the_viewers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_bytes(write(tmp_path).read_bytes())
    log = EventLog(Folder(str(tmp_path)), [])
    log.emit("run_started", run="r", output=str(tmp_path), versions={})
    log.emit("stage_started", stage="synthesize", total=1, done=0, unit="block")
    log.emit("unit_done", stage="synthesize", unit="condensed/i0", seconds=0.5, worker="abc", image_steps=10)
    log.emit("stage_done", stage="synthesize", seconds=1.0, summary="")
    log.emit("run_done")
    log.close()
    assert code("trace", tmp_path) == 0
    events = json.loads(capsys.readouterr().out)["traceEvents"]
    assert any("condensed/i0" in str(event) for event in events)


def test_a_folder_that_is_no_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code("trace", tmp_path / "nofolder") == 2
    assert "nofolder" in capsys.readouterr().err
