"""Work that is done when its receipt exists: list, subtract, go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from raydc.engine.background import repeating
from raydc.store.folder import Folder

POLL_SECONDS = 1.0


def done(folder: Folder) -> set[str]:
    """The names of the units whose receipt is in the folder."""
    return {name.removesuffix(".json") for name in folder.list() if name.endswith(".json")}


def present(folder: Folder, names: Iterable[str]) -> set[str]:
    """Which of these units have a receipt, whatever a listing says: for decisions that cannot be taken back."""
    return {name.removesuffix(".json") for name in folder.present(f"{name}.json" for name in names)}


def stamp(began: float) -> dict[str, Any]:
    """What every receipt says of its making: when it began, how long it took, and which actor on which node it was."""
    here = ray.get_runtime_context()
    return {
        "began": began,
        "seconds": time.time() - began,
        "worker": (here.get_actor_id() or "")[:8],
        "node": here.get_node_id(),
    }


@contextmanager
def watched(folder: Folder, already: set[str], on_done: Callable[[str], None]) -> Iterator[None]:
    """While Ray Data or Ray Train holds the driver, call ``on_done`` for each receipt that appears."""
    seen = set(already)

    def look() -> None:
        for name in sorted(done(folder) - seen):
            on_done(name)
            seen.add(name)

    with repeating(look, POLL_SECONDS):
        yield
