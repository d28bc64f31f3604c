"""Two drivers on one run: the second is told; a dead one is in nobody's way."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raydc.engine import alone as module
from raydc.engine.alone import alone
from raydc.engine.background import repeating
from raydc.errors import ClusterError
from raydc.report.describe import describe
from raydc.report.driver import myself
from raydc.report.events import EventLog
from raydc.report.status import StatusFile, read_status
from raydc.store.folder import Folder


def status(folder: Path, driver: str, ended: bool = False) -> EventLog:
    """What a driver leaves in a run folder."""
    log = EventLog(Folder(folder), [StatusFile(Folder(folder))])
    log.emit("run_started", run="r", output=str(folder), versions={}, driver=driver)
    if ended:
        log.emit("run_done")
    return log


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(module, "WATCH_SECONDS", 4.0)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.2)
    return []


def test_a_new_run_and_one_that_has_ended_are_nobodys(tmp_path: Path, said: list[str]) -> None:
    alone(Folder(tmp_path), said.append)
    status(tmp_path, "elsewhere:7", ended=True)
    alone(Folder(tmp_path), said.append)
    assert said == []


def test_a_second_driver_is_refused_while_the_first_works(tmp_path: Path, said: list[str]) -> None:
    with repeating(status(tmp_path, "elsewhere:7").tick, 0.3), pytest.raises(ClusterError) as error:
        alone(Folder(tmp_path), said.append)
    assert "driver elsewhere:7 is at work on this run" in str(error.value)
    assert len(said) == 1 and "looking for" in said[0]


def test_a_driver_that_was_killed_on_this_machine_is_followed_at_once(tmp_path: Path, said: list[str]) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    status(tmp_path, f"{socket.gethostname()}:{process.pid}")
    began = time.monotonic()
    alone(Folder(tmp_path), said.append)
    assert said == [] and time.monotonic() - began < 2
    lines = describe(read_status(Folder(tmp_path)))
    assert lines[0] == "run r: its driver is gone" and "it was killed. Run the same command again" in lines[2]
    status(tmp_path, myself())
    alone(Folder(tmp_path), said.append)
    assert said == [], "a container that is started again has the same name and numbers"


def test_a_driver_that_was_killed_elsewhere_is_followed_after_a_while(tmp_path: Path, said: list[str]) -> None:
    status(tmp_path, f"{socket.gethostname()}:{os.getppid()}")
    alone(Folder(tmp_path), said.append)
    assert len(said) == 1
