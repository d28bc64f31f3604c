"""The memory of every process of a run, by what the process is there for, over time; and the picture of it."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

KNOWN = {
    "Synthesizer": "synthesizer",
    "Labeler": "labeler",
    "RayTrainWorker": "trainer",
    "TrainController": "train controller",
    "pack_shard": "packer",
    "raylet": "raylet",
    "gcs_server": "gcs",
}
"""A word in the command line of a process, and what such processes are called here."""
WORKER = "default_worker.py"
"""In the command line of a worker of Ray that has just been started."""
IDLE = "idle worker"
OTHER = "other of Ray"
STEP_S = 5.0
"""Of the timeline in the record: the highest sample of each span."""
MIB = 2**20


class Sample(NamedTuple):
    """One process at one time; bytes."""

    at: float
    pid: int
    role: str
    pss: int
    uss: int
    rss: int
    high: int
    """The highest RSS since the process began, as the kernel keeps it: no peak falls between two samples."""


class Memory:
    """Samples of a process and all below it.

    PSS shares out the pages that processes have in common (libraries, mapped weights, the object store), so its sums
    mean something; USS is what one process alone holds; RSS counts shared pages in each.
    """

    def __init__(self, pid: int) -> None:
        self.root = pid
        self.samples: list[Sample] = []
        self._roles: dict[int, str] = {}

    def sample(self) -> None:
        """Look at every process once."""
        at = time.time()
        try:
            tree = [psutil.Process(self.root), *psutil.Process(self.root).children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in tree:
            try:
                info, words = process.memory_full_info(), " ".join(process.cmdline())
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            role = "driver" if process.pid == self.root else self._role(process.pid, words)
            self.samples.append(Sample(at, process.pid, role, info.pss, info.uss, info.rss, highest_rss(process.pid)))

    def _role(self, pid: int, words: str) -> str:
        """What a process is there for; a worker of Ray that waits, starts or ends stays what it was."""
        if words.startswith("ray::IDLE") or not words or WORKER in words:
            return self._roles.get(pid, IDLE)
        program = words if words.startswith("ray::") else Path(words.split(" ")[0]).name
        found = next((name for word, name in KNOWN.items() if word in program), OTHER)
        if pid not in self._roles:  # what it did before, it did to become this
            self.samples = [s._replace(role=found) if s.pid == pid else s for s in self.samples]
        self._roles[pid] = found if found != OTHER else self._roles.get(pid, OTHER)
        return self._roles[pid]

    def peaks(self) -> dict[str, dict[str, Any]]:
        """By role: the peaks of one process, of all of them together, and how many there were at a time."""
        return _peaks(self.samples)

    def peak_of_all(self) -> dict[str, float]:
        """The highest sums over all processes, in MiB."""
        return _sums(self.samples)

    def by_stage(self, stages: Sequence[tuple[str, float]]) -> dict[str, Any]:
        """The same for each stage, given as (name, time of its start)."""
        parted = defaultdict(list)
        for sample in self.samples:
            parted[_stage(stages, sample.at)].append(sample)
        return {stage: {"all": _sums(part), **_peaks(part)} for stage, part in parted.items()}

    def processes(self) -> list[dict[str, Any]]:
        """Every process that lived for three samples or more, with its peaks in MiB; largest first."""
        parted = defaultdict(list)
        for sample in self.samples:
            parted[sample.pid].append(sample)
        rows = [
            {
                "role": Counter(s.role for s in part).most_common(1)[0][0],
                "seconds": round(part[-1].at - part[0].at),
                **_highest(part),
            }
            for part in parted.values()
            if len(part) > 2
        ]
        return sorted(rows, key=lambda row: -row["pss"])

    def timeline(self, stages: Sequence[tuple[str, float]]) -> dict[str, Any]:
        """PSS by role over time in MiB, with the seconds at which stages started, for a picture."""
        if not self.samples:
            return {"t": [], "pss": {}, "stages": []}
        start = self.samples[0].at
        spans: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for at, part in _moments(self.samples):
            sums = spans[int((at - start) / STEP_S)]
            for role in {s.role for s in part}:
                sums[role] = max(sums[role], sum(s.pss for s in part if s.role == role) / MIB)
        roles = list(dict.fromkeys(s.role for s in self.samples))
        return {
            "t": [round(n * STEP_S, 1) for n in sorted(spans)],
            "pss": {role: [round(spans[n].get(role, 0.0), 1) for n in sorted(spans)] for role in roles},
            "stages": [(name, round(at - start, 1)) for name, at in stages],
        }


def highest_rss(pid: int) -> int:
    """The high-water mark of a process's resident set in bytes; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _stage(stages: Sequence[tuple[str, float]], at: float) -> str:
    n = bisect_right([start for _, start in stages], at)
    return stages[n - 1][0] if n else "start"


def _moments(samples: Sequence[Sample]) -> list[tuple[float, list[Sample]]]:
    parted = defaultdict(list)
    for sample in samples:
        parted[sample.at].append(sample)
    return list(parted.items())


def _sums(samples: Sequence[Sample]) -> dict[str, float]:
    moments = [part for _, part in _moments(samples)]
    return {kind: max(round(sum(getattr(s, kind) for s in p) / MIB, 1) for p in moments) for kind in ("pss", "rss")}


def _highest(samples: Sequence[Sample]) -> dict[str, float]:
    return {kind: round(max(getattr(s, kind) for s in samples) / MIB, 1) for kind in ("pss", "uss", "rss", "high")}


def _peaks(samples: Sequence[Sample]) -> dict[str, dict[str, Any]]:
    parted = defaultdict(list)
    for sample in samples:
        parted[sample.role].append(sample)
    return {
        role: {
            "one_process": _highest(part),
            "together": _sums(part),
            "at_a_time": max(len(p) for _, p in _moments(part)),
        }
        for role, part in parted.items()
    }


def drawn(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the memory by role over time, one panel a run, the stages marked."""
    from matplotlib import pyplot

    roles = list(dict.fromkeys(role for run in runs for role in run["timeline"]["pss"]))
    colours = dict(zip(roles, pyplot.get_cmap("tab10").colors * 2, strict=False))
    figure, panels = pyplot.subplots(len(runs), 1, figsize=(11, 3.6 * len(runs)), sharey=True, squeeze=False)
    for panel, run in zip(panels[:, 0], runs, strict=True):
        line = run["timeline"]
        minutes = [t / 60 for t in line["t"]]
        names = list(line["pss"])
        panel.stackplot(minutes, [[v / 1024 for v in line["pss"][name]] for name in names], labels=names,
                        colors=[colours[name] for name in names], linewidth=0)  # fmt: skip
        for n, (name, at) in enumerate(line["stages"]):
            panel.axvline(at / 60, color="0.25", linewidth=0.8, linestyle="--")
            height = 1.01 + 0.07 * (n % 3)  # stages that follow closely would be written over each other
            panel.text(at / 60, height, f" {name}", fontsize=8, transform=panel.get_xaxis_transform())
        panel.set(ylabel="memory (PSS), GiB", xlim=(0, max(minutes, default=1)))
        panel.set_title(f"{run['classes']:,} classes, {run['images']:,} images", loc="left", fontsize=9, pad=36)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel("minutes")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
