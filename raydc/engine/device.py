"""The device that a worker computes on, set up so that the same work gives the same bytes."""

from __future__ import annotations

import os

import torch

from raydc.config.stages.engine import EngineConfig
from raydc.errors import ClusterError
from raydc.teachers.ambient import pin


def device(engine: EngineConfig) -> torch.device:
    """Prepare this process for deterministic arithmetic and return its device: the config's choice, never a chance.

    Raises:
        ClusterError: a GPU is asked for, and torch finds none.
    """
    pin(engine.threads)
    if not engine.gpus_per_worker:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ClusterError(
            f"engine.gpus_per_worker is {engine.gpus_per_worker:g}, but torch {torch.__version__} sees no GPU on this "
            "node. Install a build of torch for its driver, or set engine.gpus_per_worker to 0"
        )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device("cuda")
