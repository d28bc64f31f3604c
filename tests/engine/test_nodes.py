"""Which node is avoided, and for how long."""

from __future__ import annotations

import pytest

from raydc.engine.pool import nodes
from raydc.engine.pool.losses import Losses
from raydc.engine.pool.nodes import STRIKES, Nodes


def test_a_node_where_all_fails_is_avoided_while_others_work() -> None:
    known = Nodes()
    assert not known.failed("bad")
    known.worked("good")
    assert [known.failed("bad") for _ in range(STRIKES - 1)] == [False] * (STRIKES - 2) + [True]
    assert known.avoided() == {"bad"}
    assert not known.failed("bad"), "told once"


def test_what_fails_everywhere_is_nobodys_fault() -> None:
    known = Nodes()
    assert not any(known.failed(node) for node in ["one", "other"] * 5) and known.avoided() == frozenset()


def test_a_node_that_finishes_something_begins_anew() -> None:
    known = Nodes()
    for _ in range(5):
        assert not known.failed("shaky") and not known.failed("shaky")
        known.worked("good")
        known.worked("shaky")
    assert known.avoided() == frozenset()


def test_an_avoided_node_gets_another_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "AVOID_SECONDS", -1.0)
    known = Nodes()
    known.failed("bad")
    known.worked("good")
    assert [known.failed("bad") for _ in range(STRIKES - 1)][-1] and known.avoided() == frozenset()


def test_a_failure_at_no_node_is_counted_for_none() -> None:
    known = Nodes()
    known.worked("good")
    assert not any(known.failed("") for _ in range(9))


def test_a_loss_is_judged_by_what_became_of_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raydc.engine.pool.losses.VERDICT_SECONDS", 0.0)
    losses: Losses[str] = Losses()
    losses.add("a", "gone", RuntimeError(), last=False)
    losses.add("b", "there", RuntimeError(), last=True)
    assert losses.waiting()
    innocent, guilty = losses.judge({"there"})
    assert [loss.unit for loss in innocent] == ["a"] and [loss.unit for loss in guilty] == ["b"]
    assert not losses.waiting() and losses.judge(set()) == ([], [])


def test_a_loss_waits_for_its_verdict() -> None:
    losses: Losses[str] = Losses()
    losses.add("b", "there", RuntimeError(), last=True)
    assert losses.judge({"there"}) == ([], []) and losses.waiting()
    assert [loss.unit for loss in losses.judge(set())[0]] == ["b"]
