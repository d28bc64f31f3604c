"""The compiler: ``torch.compile``, asked for one whole graph or an error, never for a part of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
MOST = 256
"""Versions of one function that may be compiled: one a network, shape and set of layers, and a pool has several."""
CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""The variable by which torch is told where kernels are kept. All processes of a node share them."""


def compiled(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """The same function, made into kernels when it is first called with tensors of some shape.

    Static shapes: every block of a run has the same. Where a graph would break the compiler raises, and what cannot be
    compiled is run eagerly by choice and not by half. A process that was killed while it compiled leaves half a file
    in the cache, on which every later one would fail: the cache is then emptied, and the kernels are made once more.
    """
    from torch._dynamo import config

    cache = Path(os.environ.setdefault(CACHE, str(Path(tempfile.gettempdir(), f"raydc-kernels-{os.getuid()}"))))
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # its name before torch 2.7
    setattr(config, limit, max(getattr(config, limit), MOST))
    made = torch.compile(function, fullgraph=True, dynamic=False)

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        try:
            return made(*args, **kwargs)
        except Exception as error:
            if not _damaged(error):
                raise
        shutil.rmtree(cache, ignore_errors=True)
        torch._dynamo.reset()
        return made(*args, **kwargs)

    return call


def _damaged(error: BaseException | None) -> bool:
    """Whether a compilation failed on a file of the cache, not on what it was asked for."""
    while error is not None:
        if isinstance(error, (ImportError, OSError, EOFError, SyntaxError)):
            return True
        inner = getattr(error, "inner_exception", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
    return False
