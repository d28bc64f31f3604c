"""Ray Train for teachers and students: one worker group, its storage, and what its failures mean."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pyarrow.fs
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from raydc.engine.capacity import for_train
from raydc.engine.failures import last_words, persist, root_cause
from raydc.engine.run import Run
from raydc.errors import ClusterError, RaydcError


def fit(
    run: Run,
    name: str,
    loop: Callable[[dict[str, Any]], None],
    workers: int | tuple[int, int],
    config: dict[str, Any],
    progress: Callable[[], Any],
    emit: Callable[..., None],
) -> None:
    """Run ``loop(config)`` on a group of workers until it returns on all of them.

    Training of the same name in the same run goes on from its last checkpoint, which is also how it goes on after a
    failure of the cluster: as long as there is progress between two failures, they may be any number.

    Args:
        run: the run.
        name: of the group.
        loop: what each worker does.
        workers: how many; a pair (least, most) where the result does not depend on it, and then nodes may come and go.
        config: what the loop is given.
        progress: something that changes whenever the workers commit something.
        emit: takes events.

    Raises:
        RaydcError: what a worker raised about its input.
        ClusterError: the group failed more often in a row than the run allows.
    """
    # Train's console logger reports every state change of its controller; errors arrive as exceptions.
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    path, filesystem = storage(run)

    def group() -> None:
        trainer = Trainer(
            loop,
            train_loop_config=config,
            scaling_config=ScalingConfig(num_workers=workers, **for_train(run.config.engine)),  # type: ignore[arg-type]
            run_config=RunConfig(
                name=name,
                storage_path=path,
                storage_filesystem=filesystem,
                # Errors come back at once: those about the input are not tried again, and the others by `persist`.
                failure_config=FailureConfig(max_failures=0),
                checkpoint_config=CheckpointConfig(num_to_keep=1),
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            cause = first_cause(error)
            if isinstance(cause, RaydcError):
                raise cause from None
            raise ClusterError(f"training '{name}' failed: {type(cause).__name__}: {last_words(cause)}") from error

    persist(group, progress, run.config.engine.max_attempts, emit, name)


class Trainer(TorchTrainer):
    """A trainer without what Train does on top and we have no use for."""

    def _register_sigint_handler(self, controller: Any) -> None:
        """Leave Ctrl-C alone: Train's own handler stays after ``fit`` and ends the driver with status 0."""

    def _create_default_callbacks(self) -> list[Any]:
        """All but the one for Ray datasets, of which there are none: it would start a process to manage them."""
        made = super()._create_default_callbacks()  # type: ignore[misc]  # hidden from Ray's types
        return [callback for callback in made if type(callback).__name__ != "DatasetsCallback"]


def storage(run: Run) -> tuple[str, pyarrow.fs.FileSystem | None]:
    """Where checkpoints of trainings go: below the run folder, on any file system that fsspec knows."""
    folder = run.work("train")
    local = folder.local()
    if local is not None:
        return str(local), None
    fs, path = folder.filesystem()
    return path, pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs))


def first_cause(error: BaseException) -> BaseException:
    """What the first failing worker raised; what one says about its input comes before what others then lost."""
    failures = getattr(error, "worker_failures", None)
    causes = [root_cause(e) for e in failures.values()] if failures else [root_cause(error)]
    about = (c for c in causes if isinstance(c, RaydcError) and not isinstance(c, ClusterError))
    return next(about, causes[0])
