from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydc.report.scales import linear, logarithmic, tick_text, value_text
from raydc.report.units import bytes_text, duration, instant, iso, percent, plural

finite = st.floats(-1e12, 1e12, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 1e-9)


@given(st.lists(finite, min_size=1, max_size=5))
def test_a_linear_scale_holds_its_values_and_has_few_ticks(values):
    scale = linear(values, 0, 100)
    assert all(-1e-6 <= scale(v) <= 100 + 1e-6 for v in values)
    assert 1 <= len(scale.ticks()) <= 12


@given(st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=5))
def test_a_logarithmic_scale_holds_its_values_and_has_few_ticks(values):
    scale = logarithmic(values, 100, 0)
    assert all(0 <= scale(v) <= 100 for v in values)
    assert 1 <= len(scale.ticks()) <= 12


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (0.001, "0.001"),
        (1e-4, "10⁻⁴"),
        (2e-5, "2·10⁻⁵"),
        (1500, "1,500"),
        (1e6, "10⁶"),
        (-20, "-20"),
    ],
)
def test_ticks_read_well(value, text):
    assert tick_text(value) == text


def test_values_read_well():
    assert [value_text(v) for v in (0.0, 0.02231, 12.81, 1234.5, 2.01e-5)] == [
        "0",
        "0.0223",
        "12.8",
        "1,234",
        "2.01·10⁻⁵",
    ]


def test_units_read_well():
    assert [bytes_text(v) for v in (0, 999, 1000, 24_310, 3_610_000, 999_999)] == [
        "0 B", "999 B", "1.00 kB", "24.3 kB", "3.61 MB", "1.00 MB",
    ]  # fmt: skip
    assert [duration(v) for v in (0.04, 3.2, 59.7, 245, 3840, 97_200)] == [
        "40 ms", "3.2 s", "1 min 00 s", "4 min 05 s", "1 h 04 min", "1 d 3 h",
    ]  # fmt: skip
    assert (percent(0.5234), plural(1, "block"), plural(1045, "class")) == ("52.3 %", "1 block", "1,045 classes")
    assert instant(iso(1_795_000_000.25)) == 1_795_000_000.25
