"""How many actors are asked for, and where: without Ray, with actors that only count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from raydc.engine.pool import crew as module
from raydc.engine.pool.crew import Crew, Worker


class Asked:
    """What a crew has asked for and what of it was called off."""

    def __init__(self) -> None:
        self.made: list[frozenset[str]] = []
        self.ended: list[Any] = []
        self.crew = Crew(self._make, self.ended.append, lambda kind, **fields: None)

    def _make(self, avoid: frozenset[str]) -> Any:
        self.made.append(avoid)
        return SimpleNamespace(hello=SimpleNamespace(remote=object), avoid=avoid)

    def work(self, count: int) -> None:
        """So many actors are at work."""
        self.crew.busy = {object(): Worker(object(), 0) for _ in range(count)}


@pytest.fixture
def asked() -> Asked:
    return Asked()


def test_no_more_are_asked_for_than_wanted_and_the_youngest_are_called_off(asked: Asked) -> None:
    asked.crew.resize(3)
    asked.crew.resize(3)
    first = next(iter(asked.crew.booting.values())).actor
    asked.crew.resize(1)
    assert len(asked.made) == 3 and len(asked.ended) == 2 and all(actor is not first for actor in asked.ended)


def test_an_actor_does_not_wait_for_what_it_was_once_to_avoid(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    avoided = frozenset({"a", "b"})
    monkeypatch.setattr(asked.crew.nodes, "avoided", lambda: avoided)
    asked.crew.resize(2)
    avoided = frozenset({"b"})
    asked.crew.resize(2)
    assert asked.made == [{"a", "b"}] * 2 + [{"b"}] * 2 and len(asked.ended) == 2
    avoided = frozenset({"b", "c"})
    asked.crew.resize(2)
    assert len(asked.made) == 4, "one more to avoid is no reason to begin anew"


def test_what_does_not_start_is_tried_again_now_and_then(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    asked.work(4)
    asked.crew.boot_failures, asked.crew._boot_failed = module.BOOT_FAILURES, now
    asked.crew.resize(8)
    assert asked.made == [], "the others work on"
    now += module.BOOT_AGAIN_SECONDS + 1
    asked.crew.resize(8)
    asked.crew.resize(8)
    assert len(asked.made) == 1, "new machines may be sound"
