"""Several data-parallel ranks on this machine, each a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing


def on_ranks(work: Callable[[distributed.ProcessGroup], Any], world: int, folder: Path) -> list[Any]:
    """What each of so many ranks returns from ``work(group)``; both must be at the top of a module."""
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=_one, args=(work, r, world, str(folder))) for r in range(world)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        assert process.exitcode == 0
    return [torch.load(folder / f"{r}-of-{world}.pt", weights_only=True) for r in range(world)]


def _one(work: Callable[[distributed.ProcessGroup], Any], rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet-{world}"
    distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=world)
    torch.save(work(distributed.group.WORLD), f"{folder}/{rank}-of-{world}.pt")
    distributed.destroy_process_group()
