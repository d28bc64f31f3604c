"""Calibration: how fast this machine does what a run will do, measured on a few steps of everything.

Ray is started as for the run, and as many probes as the run would have workers measure at once. Nothing is fetched and
nothing is written but scratch: teachers have random weights, and where the real data is not on this machine, made-up
images stand in for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from raydc.config import RunConfig
from raydc.config.stages.data import DataConfig
from raydc.engine.calibration.probe import Probe
from raydc.engine.capacity import lacking, options, room
from raydc.engine.cluster import cluster
from raydc.engine.evaluate import jobs
from raydc.engine.failures import wait
from raydc.engine.inspection import label_space
from raydc.engine.run import Run
from raydc.errors import ClusterError
from raydc.keys import Key
from raydc.plan.measured import Loop, Measured, Timing, student_kind
from raydc.sources.base import Source, open_source

SECONDS = 2.0
"""For each of: a step of synthesis, a view, a step of a teacher."""
STUDENT_SECONDS = 0.8
"""For a step of each kind of student."""
GOODBYE_SECONDS = 10.0
"""For removing scratch."""


@dataclass(frozen=True)
class Data:
    """The real data, or what stands in for it."""

    source: Source
    seconds: float
    stand_in: bool


def calibrate(config: RunConfig) -> Measured:
    """Measure a run on this machine, or on the cluster of RAY_ADDRESS.

    Raises:
        ClusterError: no node can hold a worker: no GPU, or too few CPUs.
        DataError, ConfigError: what the run itself would refuse.
    """
    process = time.process_time()  # what a run has done too until it asks for Ray: mostly imports
    data = _data(config)
    began = time.perf_counter()
    with cluster():
        started = time.perf_counter() - began
        found = _measure(config, data)
        began = time.perf_counter()
    stopped = time.perf_counter() - began
    return Measured(process=process, ray=started + stopped, opening=data.seconds, stand_in=data.stand_in, **found)


def _data(config: RunConfig) -> Data:
    began = time.perf_counter()
    stand_in = not _here(config.data)
    shown = _made_up(config) if stand_in else config.data
    source = open_source(shown, Key((config.seed, "holdout")))
    return Data(source, 0.0 if stand_in else time.perf_counter() - began, stand_in)


def _here(data: DataConfig) -> bool:
    """Whether the data can be opened without the network."""
    if data.train is None:
        return True
    pattern = data.train.split("{")[0]
    return "://" not in pattern and (Path(pattern) if pattern == data.train else Path(pattern).parent).exists()


def _made_up(config: RunConfig) -> DataConfig:
    """Generated images of as many classes, enough of each for a real start."""
    return DataConfig(
        name=config.data.name, use="generated", classes=label_space(config), images=2 * config.synthesize.ipc,
        image_size=config.data.image_size, validation_fraction=0.5,
    )  # fmt: skip


def _measure(config: RunConfig, data: Data) -> dict[str, Any]:
    missing = lacking(config.engine)
    if missing:
        raise ClusterError(
            f"{missing}. Calibrate on a machine like those of the run (RAY_ADDRESS names a cluster), or state a rate"
        )
    engine, judged = config.engine, config.evaluate
    seats = room(engine)
    count = min(seats, max(engine.workers, judged.workers if judged.students else 1))
    began = time.perf_counter()
    with _probes(config, data.source, count) as probes:
        devices = wait([p.hello.remote() for p in probes])
        worker = time.perf_counter() - began
        real, known = wait([p.real.remote() for p in probes]), not data.stand_in
        some = {t.name for t in config.squeeze.teachers}
        wait([p.teachers.remote(some) for p in probes])
        squeeze, tests = _squeeze(config, probes)
        (how,) = wait([probes[0].execution.remote()])
        blocks = wait([p.blocks.remote(SECONDS, how["chosen"]) for p in probes[: engine.workers]])
        # Those beyond the workers of synthesis only serve students: they need pixels too.
        wait([p.blocks.remote(0.0, how["chosen"]) for p in probes[engine.workers :]])
        (labeller,) = wait([probes[0].label_execution.remote()])
        labelled = wait([p.labels.remote(SECONDS, labeller["chosen"]) for p in probes])[: engine.workers]
        learnt, more = _students(config, probes[: judged.workers])
    return {
        "device": devices[0],
        "workers": min(engine.workers, seats),
        "seats": seats,
        "worker": worker,
        "train_images": len(data.source.train) if known else None,
        "validation_images": len(data.source.validation) if known else None,
        "first_image": _mean(real, "first_image"),
        "decode": _mean(real, "decode"),
        "execution": how["chosen"],
        "trial": how["seconds"],
        "label_execution": labeller["chosen"],
        "label_trial": labeller["seconds"],
        "launch_images": blocks[0]["images"],
        "launch": _merged([b["loop"] for b in blocks]),
        "begin": _mean(blocks, "begin"),
        "encode": _mean(blocks, "encode"),
        "view": _merged([v["loop"] for v in labelled]),
        "shard_image": _mean(labelled, "shard_image"),
        "squeeze": squeeze,
        "tests": {**tests, **more},
        "students": learnt,
    }


@contextmanager
def _probes(config: RunConfig, source: Source, count: int) -> Iterator[list[Any]]:
    """Probes that ask for what the run's workers ask for; nothing of them is left."""
    shared = [ray.put(source)]
    actor: Any = ray.remote(Probe)
    asked = {"max_restarts": 0, **options(config.engine)}
    probes = [actor.options(**asked).remote(config, shared) for _ in range(count)]
    try:
        yield probes
    finally:
        with suppress(RayError):  # one that has died has nothing to say any more; its scratch lies in TMPDIR
            ray.get([p.close.remote() for p in probes], timeout=GOODBYE_SECONDS)
        for probe in probes:
            ray.kill(probe)


def _squeeze(config: RunConfig, probes: list[Any]) -> tuple[dict[str, Loop], dict[str, float]]:
    """A step of every teacher that is trained, on as many workers as train it, and a test image."""
    loops, tests, ranks = {}, {}, config.squeeze.workers
    for teacher in config.squeeze.teachers:
        if teacher.train is not None:
            found = wait([p.squeeze.remote(teacher.name, ranks, SECONDS) for p in probes[:ranks]])
            loops[teacher.name] = _joined([f["loop"] for f in found])
            tests[f"teacher {teacher.name}"] = _mean(found, "test")
    return loops, tests


def _students(config: RunConfig, probes: list[Any]) -> tuple[dict[str, Loop], dict[str, float]]:
    """A step of every kind of student, by all workers at once, and a test image of each network."""
    loops: dict[str, Loop] = {}
    tests: dict[str, float] = {}
    for place, job in enumerate(jobs(Run(config, "")).values()):
        kind = student_kind(job.student.name, job.data, job.taught)
        if kind not in loops:
            found = wait([p.student.remote(place, STUDENT_SECONDS) for p in probes])
            loops[kind] = _joined([f["loop"] for f in found])
            tests[f"student {job.student.name}"] = _mean(found, "test")
    return loops, tests


def _mean(found: list[dict[str, Any]], key: str) -> float:
    return sum(f[key] for f in found) / len(found)


def _merged(loops: list[Loop | None]) -> Loop | None:
    there = [loop for loop in loops if loop is not None]
    return _joined(there) if there else None


def _joined(loops: list[Loop]) -> Loop:
    # The most, not the mean: a probe that was at work before has already loaded what a new process must load.
    return Loop(Timing.over([loop.step for loop in loops]), max(loop.first for loop in loops))
