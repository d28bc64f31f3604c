"""What every benchmark writes down beside its numbers: the machine, the versions, memory, mean and spread."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from raydc.engine.run import environment

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "benchmarks" / "records"


def write_record(name: str, what: str, found: dict[str, Any], records: Path = RECORDS) -> Path:
    """Write one dated record: machine, versions and command, then what was found; its path."""
    started = datetime.datetime.now(datetime.timezone.utc)
    record = {
        "what": what,
        "written": started.isoformat(timespec="seconds"),
        "machine": machine(),
        "load_average": os.getloadavg(),
        "versions": environment(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        **found,
    }
    records.mkdir(parents=True, exist_ok=True)
    target = records / f"{started:%Y-%m-%d}-{name}.json"
    target.write_text(json.dumps(record, indent=1) + "\n")
    return target


def raydc(*arguments: str) -> str:
    """Call the command line; its output."""
    command = [sys.executable, "-m", "raydc", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(
            f"{' '.join(command)} failed with exit code {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout


def memory_of(pid: int) -> tuple[int, int, int]:
    """Sums over a process tree: proportional set size, resident set size, processes."""
    pss = rss = count = 0
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, 0, 0
    for process in tree:
        try:
            info = process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        pss, rss, count = pss + info.pss, rss + info.rss, count + 1
    return pss, rss, count


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
        "gpus": gpus(),
    }


def cpu_model() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def gpus() -> list[str]:
    """The GPUs that the driver lists; none where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    found = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return found.stdout.strip().splitlines() if found.returncode == 0 else []


def spread(values: list[float]) -> dict[str, float]:
    """Mean and sample standard deviation (0 for one value)."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": round(statistics.mean(values), 2), "std": round(deviation, 2), "runs": len(values)}
