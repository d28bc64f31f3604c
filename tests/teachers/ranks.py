"""Several data-parallel ranks on this machine, each a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing


def on_ranks(work: Callable[..., Any], world: int, folder: Path, *arguments: Any) -> list[Any]:
    """What each of so many ranks returns from ``work(group, *arguments)``, which must be at the top of a module."""
    context = multiprocessing.get_context("forkserver")  # the libraries are imported once for all ranks of all tests
    context.set_forkserver_preload(["timm", "raydc.engine.bench", "tests.teachers.ranks"])
    ranks = [context.Process(target=_one, args=(work, r, world, str(folder), arguments)) for r in range(world)]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_TMPDIR", raising=False)  # who waits for Ray's processes to go must not wait for the server
        for process in ranks:
            process.start()
    for process in ranks:
        process.join(120)
        assert process.exitcode == 0
    return [torch.load(folder / f"{r}-of-{world}.pt", weights_only=True) for r in range(world)]


def _one(work: Callable[..., Any], rank: int, world: int, folder: str, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet-{world}"
    distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=world)
    torch.save(work(distributed.group.WORLD, *arguments), f"{folder}/{rank}-of-{world}.pt")
    distributed.destroy_process_group()
