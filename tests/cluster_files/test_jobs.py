"""`ray job submit` as a user works with it, on a head of ``cluster/local.sh``: submit, follow, stop, resubmit."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from raydc.config.stages.networks import Arch
from raydc.keys import Key
from raydc.store.folder import Folder
from raydc.store.verify import verify
from raydc.teachers.networks import build
from raydc.teachers.teacher import save
from tests import tiny

ROOT = Path(__file__).parents[2]
STARTUP, COMMAND = 90, 240
"""Seconds, on a machine that does much else."""
NORMALIZE = {"mean": [0.3] * 3, "std": [0.3] * 3}
BRIEF: dict[str, Any] = {
    "data": {"use": "none", "classes": ["1", "0", "7", "4"], "image_size": 16},
    # Long enough to be stopped between the first block and the last, of eight.
    "synthesize": {"ipc": 4, "steps": 250},
    "relabel": None,
    "evaluate": {"students": [], "data": ["condensed"]},
}


@dataclass
class Head:
    """A cluster of one node, and what its users need to reach it."""

    process: subprocess.Popen[bytes]
    folder: str
    url: str
    environment: dict[str, str]
    commands: list[subprocess.Popen[str]] = field(default_factory=list)

    def ray(self, *arguments: str, log: Path | None = None, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start a command of Ray's; what it says goes to a file if one is given."""
        command = [sys.executable, "-m", "ray.scripts.scripts", *arguments]
        with (log or Path(os.devnull)).open("w") as out:
            started = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, cwd=cwd, env=self.environment, text=True
            )
        self.commands.append(started)
        return started

    def submit(self, name: str, working_dir: Path, *entrypoint: str) -> tuple[subprocess.Popen[str], Path]:
        """Submit a job whose logs are followed; the command and the file of what it prints."""
        log = Path(self.folder, f"{name}.log")
        options = ["--submission-id", name, "--working-dir", "."]
        return self.ray("job", "submit", *options, "--", *entrypoint, log=log, cwd=working_dir), log

    def job(self, name: str) -> dict[str, Any]:
        """What the cluster knows of a job."""
        headers = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        request = urllib.request.Request(f"{self.url}/api/jobs/{name}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))


def free_ports(count: int) -> list[int]:
    with_sockets = [socket.socket() for _ in range(count)]
    for probe in with_sockets:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in with_sockets]
    for probe in with_sockets:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with tiny.ray_folder() as folder:
        seen = tmp_path_factory.mktemp("seen")
        ports = dict(zip(("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port"),
                         free_ports(4), strict=True))  # fmt: skip
        url = f"http://127.0.0.1:{ports['dashboard-port']}"
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path_factory.mktemp("home")),  # where Ray would look for a token, and leave one
            "RAY_TMPDIR": folder,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_API_SERVER_ADDRESS": url,
            "SEEN": str(seen),
            "COLUMNS": "200",
        }
        environment.pop("RAY_ADDRESS", None)
        options = [f"--{name}={number}" for name, number in ports.items()]
        said = Path(folder, "head.log")
        with said.open("wb") as log:
            process = subprocess.Popen(
                ["bash", str(ROOT / "cluster/local.sh"), *options, f"--object-store-memory={80 * 2**20}"],
                env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        found = Head(process, folder, url, environment)
        try:
            started = "Ray runtime started"
            tiny.wait_until(lambda: started in said.read_text() or process.poll() is not None, STARTUP, "the head")
            assert process.poll() is None, said.read_text()
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            for left in tiny.processes(folder):  # only where a test has failed
                left.kill()
            for command in found.commands:
                command.wait(30)


def working_dir(folder: Path) -> Path:
    """What a user submits: raydc as it is here with a change, a config, and an output folder that is none of it."""
    here = folder / "work"
    shutil.copytree(ROOT / "raydc", here / "raydc", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", here)
    with (here / "raydc" / "__init__.py").open("a") as file:
        file.write("\nimport os\nimport pathlib\n\npathlib.Path(os.environ['SEEN'], str(os.getpid())).touch()\n")
    (here / "runs").mkdir()
    (here / "runs" / "large").write_bytes(b"not to be sent")
    weights = folder / "weights.safetensors"
    save(build(Arch(**tiny.RESNET), 4, 16, Key(("weights",))), weights)
    fetched = {"name": "resnet", "arch": tiny.RESNET, "weights": str(weights), "normalize": NORMALIZE}
    written = tiny.write(folder, {**BRIEF, "squeeze": {"teachers": [fetched]}})
    shutil.move(written, here / "tiny.yaml")
    return here


@pytest.mark.timeout(600)
def test_a_job_is_followed_stopped_and_goes_on_under_another_name(head: Head, tmp_path: Path) -> None:
    here, run = working_dir(tmp_path), tmp_path / "run"
    command, log = head.submit("one", here, "python", "-m", "raydc", "run", "tiny.yaml")

    def blocks() -> list[Path]:
        return sorted(run.glob("blocks/condensed/*.json"))

    try:
        tiny.wait_until(lambda: blocks() or command.poll() is not None, COMMAND, "a first block")
        tiny.wait_until(lambda: "synthesize: started, 8 blocks" in log.read_text(), 30, "the log to be followed")
    finally:
        print(log.read_text())
    assert command.poll() is None, "the job ended before it was stopped"

    assert head.ray("job", "stop", "one").wait(COMMAND) == 0
    command.wait(30)
    assert head.job("one")["status"] == "STOPPED"
    last = tiny.events(run)[-1]
    assert (last["kind"], last["code"]) == ("run_failed", 130)
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "failed" and "the same command goes on" in status["last_error"]
    assert 0 < len(blocks()) < 8, "it was stopped too late"
    made = tiny.stamps(*blocks())

    command, log = head.submit("two", here, "python", "-m", "raydc", "run", "tiny.yaml")
    assert command.wait(COMMAND) == 0, log.read_text()
    assert head.job("two")["status"] == "SUCCEEDED" and head.job("two")["driver_exit_code"] == 0
    assert "run tiny: done" in log.read_text()
    assert tiny.stamps(*map(Path, made)) == made, "finished blocks were made again"
    assert len(blocks()) == 8 and len(tiny.events(run, "run_started")) == 2
    assert verify(Folder(run / "datasets" / "condensed")) == []

    assert len(list(Path(head.environment["SEEN"]).iterdir())) >= 4, "not all processes ran what was submitted"
    sent = list(Path(head.folder).glob("**/working_dir_files/*"))
    assert any((p / "raydc").exists() for p in sent) and not any((p / "runs").exists() for p in sent)


@pytest.mark.timeout(300)
def test_a_job_with_a_bad_config_fails_and_says_why(head: Head, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(tiny.write(tmp_path, {"output": "run"}).read_text().replace("steps:", "stepps:"))
    command, log = head.submit("bad", tmp_path, "python", "-m", "raydc", "run", "bad.yaml")
    assert command.wait(COMMAND) == 1
    job = head.job("bad")
    assert (job["status"], job["driver_exit_code"]) == ("FAILED", 2)
    said = log.read_text()
    assert "error: " in said and "stepps" in said and "Traceback" not in said
    assert "stepps" in job["message"]


def test_nobody_submits_without_the_token(head: Head) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{head.url}/api/jobs/", timeout=30)
    refused.value.close()
    assert refused.value.code in (401, 403)
