"""The device that a worker computes on, set up so that the same work gives the same bytes."""

from __future__ import annotations

import os

import torch

from raydc.teachers.ambient import pin


def device(threads: int) -> torch.device:
    """Prepare this process for deterministic arithmetic and return its device."""
    pin(threads)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device("cuda")
