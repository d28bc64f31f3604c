"""A run so small that every stage of it takes moments, and the means to start, stop and look at runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from raydc.cli import main
from raydc.config.load import merge
from raydc.engine.cluster import cluster

RESNET = {"use": "small", "name": "resnet", "options": {"widths": [4, 8], "blocks": [1, 1]}}
CONVNET = {"use": "small", "name": "convnet", "options": {"width": 4, "depth": 2}}
TREE: dict[str, Any] = {
    "name": "tiny",
    "method": {"name": "sre2l"},
    "data": {"name": "digits", "use": "digits", "image_size": 16, "subset": ["1", "0", "7", "4"]},
    "squeeze": {
        "teachers": [
            {
                "name": "resnet",
                "arch": RESNET,
                "normalize": {"mean": [0.3, 0.3, 0.3], "std": [0.3, 0.3, 0.3]},
                "train": {
                    "epochs": 8, "batch": 32, "optimizer": {"use": "sgd", "lr": 0.1}, "checkpoint_every": 1,
                    "views": {"min_scale": 0.5, "flip": 0.0},
                },
            }
        ]
    },
    "synthesize": {
        "ipc": 2,
        "blocks": {"size": 3},
        "initialize": {"use": "noise"},
        "augment": [{"use": "resized_crop"}, {"use": "flip"}, {"use": "roll", "max_offset": 2}],
        "objective": [{"use": "cross_entropy"}, {"use": "bn_statistics"}],
        "optimizer": {"lr": 0.1},
        "steps": 60,
        "checkpoint_every": 6,
        "log_every": 9,
    },
    "pack": {"shard_size": 3},
    "relabel": {"views": 2, "view": {"min_scale": 0.5, "mix": {"use": "cutmix"}}},
    "evaluate": {
        "students": [{"name": "convnet", "arch": CONVNET}],
        "data": ["condensed", "random"],
        "seeds": [0],
        "epochs": 30,
        "batch": 4,
    },
    "engine": {"checkpoint_seconds": 0},
}  # fmt: skip


def write(folder: Path, changes: dict[str, Any] | None = None, name: str = "tiny.yaml") -> Path:
    """Write the tiny config with changes; its run folder is ``folder/run``."""
    tree = merge(merge(TREE, {"output": str(folder / "run")}), changes or {})
    path = folder / name
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def code(*arguments: str | Path) -> int:
    """Call the command line in this process, on the Ray that is running here; its exit code."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return int(stop.value.code or 0)


@contextmanager
def shared(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that is one for all of pytest's workers, for one of them at a time: who comes first fills it."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    (root / name).mkdir(exist_ok=True)
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield root / name


@contextmanager
def ray_folder() -> Iterator[str]:
    """A private folder for Ray, short because socket paths over 107 bytes are refused."""
    folder = tempfile.mkdtemp(prefix="rd", dir="/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def ray_here() -> Iterator[str]:
    """Ray in this process, as a driver starts it, and its folder; nothing of it lives on."""
    with ray_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # workers import what tests give them
        patch.delenv("RAY_ADDRESS", raising=False)
        with cluster():
            yield folder
        gone(folder)


def processes(folder: str) -> list[psutil.Process]:
    """Every process, other than this one, that was started with this folder for Ray."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("RAY_TMPDIR") == folder:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def wait_until(true: Callable[[], Any], seconds: float, what: str) -> None:
    """Poll closely until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds} s in vain: {what}"
        time.sleep(0.005)


AGENTS = ("ray::DashboardAg", "ray::RuntimeEnv", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's helpers of a node. Where the node dies while they start, they live on for a minute; they hold nothing."""


def gone(folder: str, seconds: float = 60) -> None:
    """Wait until nothing lives that was started with this folder for Ray, or say what does."""
    begun = time.monotonic()
    while left := processes(folder):
        waited = time.monotonic() - begun
        assert waited < seconds, f"after {seconds} s there still lives {[said(p) for p in left]}"
        with suppress(psutil.Error):
            if waited > 5 and all(p.name() in AGENTS for p in left):
                for process in left:
                    process.kill()
        time.sleep(0.02)


def said(process: psutil.Process) -> str:
    """What a process is, as far as one can still ask it."""
    with suppress(psutil.Error):
        return f"{process.pid} {process.status()} {' '.join(process.cmdline())[:120]}"
    return str(process.pid)


class Command:
    """``python -m raydc`` in a process group of its own, with a Ray of its own or on the cluster at an address."""

    def __init__(self, *arguments: str | Path, ray: str, cwd: Path, address: str = "") -> None:
        self.ray = ray
        self.output, self.errors = Path(ray, "stdout"), Path(ray, "stderr")
        # On a pipe or a file `rich` assumes 80 columns; a wide one keeps a message in one line.
        environment = {**os.environ, "RAY_TMPDIR": ray, "COLUMNS": "200"}
        for name in ("RAY_ADDRESS", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"):  # the latter of a Ray of this process
            environment.pop(name, None)
        environment |= {"RAY_ADDRESS": address} if address else {}
        with self.output.open("w") as out, self.errors.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "raydc", *map(str, arguments)],
                stdout=out, stderr=err, cwd=cwd, env=environment, start_new_session=True,
            )  # fmt: skip

    def result(self, seconds: float = 150) -> int:
        """Wait for the end; nothing of it may live on."""
        code = self.process.wait(seconds)
        gone(self.ray)
        return code

    def until(self, true: Callable[[], Any], what: str, seconds: float = 200) -> None:
        """Wait for something that the run does."""
        wait_until(lambda: true() or self.process.poll() is not None, seconds, what)
        assert self.process.poll() is None, f"the run ended before {what}: {self.said()}"

    def stop(self, number: signal.Signals) -> int:
        """Send the driver a signal and wait for the end of everything; the exit code."""
        os.kill(self.process.pid, number)
        return self.result(40)

    def kill(self) -> int:
        """Kill the driver and its group without notice; what Ray has started must follow by itself."""
        os.killpg(self.process.pid, signal.SIGKILL)
        return self.result(40)

    def cut(self, doomed: Sequence[psutil.Process] = ()) -> int:
        """Kill the driver and all of Ray at once, as a power cut does: no worker comes to the end of its unit."""
        for process in [*doomed, *processes(self.ray)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return self.result(40)

    def said(self) -> str:
        """All that it printed."""
        return self.output.read_text() + self.errors.read_text()


def run(*arguments: str | Path, cwd: Path) -> tuple[int, str, str]:
    """Run a command to its end; exit code, standard output and standard error."""
    with ray_folder() as folder:
        command = Command(*arguments, ray=folder, cwd=cwd)
        return command.result(), command.output.read_text(), command.errors.read_text()


def events(run: Path, kind: str = "") -> list[dict[str, Any]]:
    """The events of a run so far, of one kind or of all."""
    from raydc.report.events import read_events
    from raydc.store.folder import Folder

    return [e for e in read_events(Folder(run)) if not kind or e["kind"] == kind]


def stamps(*files: Path) -> dict[str, int]:
    """When files were last written, in nanoseconds."""
    return {str(f): f.stat().st_mtime_ns for f in files}
