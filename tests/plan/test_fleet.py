"""Devices of several kinds: rates add up, the slowest bounds the end, and a price needs every kind's."""

from __future__ import annotations

import pytest

from raydc.errors import ConfigError
from raydc.plan.fleet import Fleet, Kind, parse_fleet, stated


def test_rates_and_prices_of_a_mixed_fleet_add_up() -> None:
    fleet = parse_fleet(["8:26700:2.5", "16:4000:0.7"])
    assert fleet.devices == 24
    assert fleet.rate == 8 * 26_700 + 16 * 4_000
    assert fleet.hourly == pytest.approx(31.2)
    assert fleet.hours(418_000_000) == pytest.approx(418e6 / 277_600 / 3600)


def test_the_end_waits_for_one_block_on_the_slowest_device() -> None:
    assert parse_fleet(["8:26700", "1:200"]).tail_hours(200_000) == pytest.approx(1_000 / 3600)


def test_a_mixed_fleet_takes_no_longer_than_its_sum_and_the_tail() -> None:
    """Blocks handed to whoever is free, one by one, against the two numbers of the plan."""
    kinds, blocks, steps = [Kind(2, 100.0), Kind(3, 30.0)], 57, 2_000.0
    fleet = Fleet(tuple(kinds))
    free = [(0.0, k.rate or 0.0) for k in kinds for _ in range(k.count)]
    for _ in range(blocks):
        free.sort()
        at, rate = free[0]
        free[0] = (at + steps / rate, rate)
    took = max(at for at, _ in free) / 3600
    least, tail = fleet.hours(blocks * steps), fleet.tail_hours(steps)
    assert least is not None and tail is not None
    assert least <= took <= least + tail


def test_what_one_kind_does_not_say_is_not_known_of_all() -> None:
    assert parse_fleet(["1:10:2", "1:10"]).hourly is None
    assert Fleet((Kind(1, 10.0), Kind(1))).rate is None
    assert Fleet((Kind(4),)).hours(10) is None and Fleet((Kind(4),)).tail_hours(10) is None


@pytest.mark.parametrize("text", ["8", "8x3", "0:10", "8:0", "8:-1", "8:1:2:3", "8:nan", "8:inf", "1.5:3", "1:2:-3"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="COUNT:RATE"):
        parse_fleet([text])


def test_a_command_line_states_a_fleet_one_way_or_the_other() -> None:
    assert stated([], None, None, None) == Fleet((Kind(1),))
    assert stated([], 8, 1916.0, 2.5) == Fleet((Kind(8, 1916.0, 2.5),))
    assert stated(["2:5"], None, None, None) == Fleet((Kind(2, 5.0),))
    with pytest.raises(ConfigError, match="leave out --gpus"):
        stated(["2:5"], 1, None, None)


def test_what_was_measured_stands_in_for_what_is_not_stated() -> None:
    measured = Kind(2, 350.0)
    assert stated([], None, None, 0.1, measured) == Fleet((Kind(2, 350.0, 0.1),))
    assert stated([], 64, None, None, measured) == Fleet((Kind(64, 350.0),))
    assert stated([], None, 1000.0, None, measured) == Fleet((Kind(2, 1000.0),))
    assert stated(["1:7"], None, None, None, measured) == Fleet((Kind(1, 7.0),))
