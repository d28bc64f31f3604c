"""Ray Train for teachers and students: one worker group, its storage, and what its failures mean."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import fsspec
import pyarrow.fs
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from raydc.engine.capacity import wanted
from raydc.engine.failures import root_cause
from raydc.engine.run import Run
from raydc.errors import ClusterError, RaydcError


def fit(run: Run, name: str, loop: Callable[[dict[str, Any]], None], workers: int, config: dict[str, Any]) -> None:
    """Run ``loop(config)`` on a fixed group of workers until it returns on all of them.

    Training of the same name in the same run goes on from its last checkpoint. The number of workers is fixed, never
    elastic: it decides how a batch is split, and so the result.

    Raises:
        RaydcError: what a worker raised about its input.
        ClusterError: the group failed more often than the run allows.
    """
    # Train's console logger reports every state change of its controller; errors arrive as exceptions.
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    engine = run.config.engine
    path, filesystem = storage(run)
    trainer = Trainer(
        loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=engine.gpus_per_worker > 0,
            resources_per_worker=wanted(engine),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=engine.max_attempts - 1),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        cause = first_cause(error)
        if isinstance(cause, RaydcError):
            raise cause from None
        raise ClusterError(f"training '{name}' failed {engine.max_attempts} times; the last error: {cause}") from error


class Trainer(TorchTrainer):
    """A trainer that leaves Ctrl-C alone: Train's own handler stays after ``fit`` and ends the driver with status 0."""

    def _register_sigint_handler(self, controller: Any) -> None:
        """Register nothing."""


def storage(run: Run) -> tuple[str, pyarrow.fs.FileSystem | None]:
    """Where checkpoints of trainings go: below the run folder, on any file system that fsspec knows."""
    folder = run.work("train")
    local = folder.local()
    if local is not None:
        return str(local), None
    fs, path = fsspec.core.url_to_fs(folder.url)
    return path, pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs))


def first_cause(error: BaseException) -> BaseException:
    """What the first failing worker raised."""
    failures = getattr(error, "worker_failures", None)
    return root_cause(next(iter(failures.values()))) if failures else root_cause(error)
