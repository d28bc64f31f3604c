"""The last round: who still takes a unit, and what is made twice."""

from __future__ import annotations

import pytest

from raydc.engine.pool.pace import Pace
from raydc.engine.pool.tail import Tail, expect, horizon


def worker(usual: float | None = None, began: float = 0.0, looks: tuple[tuple[float, float], ...] = ()) -> Pace:
    """An actor that takes so many seconds for a unit, and was looked at while it had one in hand."""
    pace = Pace(usual)
    pace.begin(began)
    for when, fraction in looks:
        pace.look(when, fraction)
    return pace


def test_what_is_left_follows_from_two_looks() -> None:
    assert worker(looks=((10, 0.2), (20, 0.4))).left(20) == pytest.approx(30)
    assert worker(looks=((10, 0.2), (20, 0.4))).left(25) == pytest.approx(25), "time goes on after a look"


def test_a_unit_that_went_on_from_a_checkpoint_is_not_taken_for_a_fast_one() -> None:
    assert worker(looks=((1, 0.8), (11, 0.9))).left(11) == pytest.approx(10)


@pytest.mark.parametrize("looks", [(), ((5, 0.5),), ((5, 0.5), (10, 0.5))])
def test_nothing_is_known_from_too_little(looks: tuple[tuple[float, float], ...]) -> None:
    assert worker(looks=looks).left(10) is None
    assert worker(20.0, looks=looks).guess(5, 99.0) == 15 and worker(looks=looks).guess(5, 99.0) == 94


def test_a_unit_that_is_overdue_is_expected_ever_later() -> None:
    guesses = [worker(10.0).guess(now, 99.0) for now in (4, 10, 12, 30)]
    assert guesses == [6, 0, 2, 20], "or a slow worker would wait for ever for a fast one that hangs"


def test_a_worker_that_falls_silent_is_expected_ever_later() -> None:
    frozen = worker(5.0, looks=((1, 0.2), (2, 0.4)))
    assert frozen.left(5) == pytest.approx(0) and frozen.left(25) == pytest.approx(20)
    never = worker(5.0)
    ends = [expect(0, [worker(5.0)], [never], [never], 5.0, now).ends[0] for now in (10, 16, 30)]
    assert ends == [None, 11, 25], "a unit that never gets on is made by somebody else in the end"


def test_a_machine_that_turns_slow_is_soon_taken_for_slow() -> None:
    pace = worker()
    for seconds in (10, 10, 40, 40, 40):
        pace.begin(0)
        pace.end(seconds)
    assert pace.usual is not None and 35 < pace.usual < 40
    assert pace.left(60) is None


def test_the_horizon_is_that_of_the_best_schedule() -> None:
    assert horizon([(0, 10), (0, 10)], 0) == 0
    assert horizon([(0, 10), (0, 10)], 2) == 10
    assert horizon([(0, 10), (5, 2)], 3) == 10, "two on the fast one, one on the slow one"
    assert horizon([(0, 100), (5, 2)], 3) == 11, "the slow one gets none"


def test_a_slow_worker_takes_nothing_that_others_would_end_before_it() -> None:
    tail = expect(1, [worker(40)], [worker(10, began=-5)], [], 10, 0)
    assert tail.horizon == 15 and tail.too_slow(worker(40)) and not tail.too_slow(worker(12))
    assert not expect(1, [worker(40)], [], [], 10, 0).too_slow(worker(40)), "nobody else is there"


def test_the_unit_that_would_end_last_is_copied() -> None:
    assert Tail(10, (15.0, 40.0, None), 0).straggler(worker(10)) == 1
    assert Tail(10, (15.0,), 0).straggler(worker()) == 0, "who has finished nothing is taken for a usual one"
    assert Tail(10, (), 0).straggler(worker(1)) is None


def test_no_copy_where_it_would_come_too_late() -> None:
    assert Tail(10, (10.0,), 0).straggler(worker(9.5)) is None, "a tenth better is demanded"
    assert Tail(10, (10.0,), 0).straggler(worker(8)) == 0


def test_while_units_wait_only_a_real_straggler_is_copied() -> None:
    assert Tail(10, (25.0,), 20).straggler(worker(10)) == 0
    assert Tail(10, (19.0,), 20).straggler(worker(10)) is None
    assert Tail(10, (25.0,), 30).straggler(worker(10)) is None, "it can still be copied once nothing waits"
