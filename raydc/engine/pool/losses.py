"""Units whose actor died: whether they are to blame is known only once their node was seen to live on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Generic, TypeVar

U = TypeVar("U")

VERDICT_SECONDS = 30.0
"""How long after the death of an actor its node may still be found dead: Ray needs up to 15 s to be sure."""


@dataclass(frozen=True)
class Loss(Generic[U]):
    """A unit, the node that its actor died on, and what was said of it."""

    unit: U
    node: str
    error: BaseException
    until: float
    last: bool
    """It was the last attempt of the unit, which waits for the verdict."""


class Losses(Generic[U]):
    """Losses without a verdict."""

    def __init__(self) -> None:
        self._open: list[Loss[U]] = []

    def add(self, unit: U, node: str, error: BaseException, last: bool) -> None:
        """An actor died with a unit in hand."""
        self._open.append(Loss(unit, node, error, time.monotonic() + VERDICT_SECONDS, last))

    def waiting(self) -> bool:
        """Whether a unit waits for its verdict."""
        return any(loss.last for loss in self._open)

    def judge(self, alive: set[str]) -> tuple[list[Loss[U]], list[Loss[U]]]:
        """Take out what is known by now: losses that went with their node, and those whose node lives on."""
        now = time.monotonic()
        innocent = [loss for loss in self._open if loss.node not in alive]
        guilty = [loss for loss in self._open if loss.node in alive and now >= loss.until]
        self._open = [loss for loss in self._open if loss.node in alive and now < loss.until]
        return innocent, guilty
