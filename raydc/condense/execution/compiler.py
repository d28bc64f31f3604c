"""The compiler: ``torch.compile``, asked for one whole graph or an error, never for a part of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
MOST = 256
"""Versions of one function that may be compiled: one a network, shape and set of layers, and a pool has several."""


def compiled(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """The same function, made into kernels when it is first called with tensors of some shape.

    Static shapes: every block of a run has the same. Where a graph would break the compiler raises, and what cannot be
    compiled is run eagerly by choice and not by half. Kernels are kept by torch in one cache a node.
    """
    from torch._dynamo import config

    config.recompile_limit = max(config.recompile_limit, MOST)
    return torch.compile(function, fullgraph=True, dynamic=False)
