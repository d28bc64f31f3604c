"""Keys: the same numbers for ever, and other numbers for every other path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydc.keys import Key

KEY = Key((0, "synthesize", "i00003-c00100", 17))
PARTS = st.one_of(st.integers(-(2**40), 2**40), st.text(max_size=6))


def test_uniform_is_what_it_always_was() -> None:
    """Changing one of these numbers changes every data set that a published run would make again."""
    assert KEY.uniform(3).tolist() == [0.37887039010208123, 0.7224581428079032, 0.15338637451774495]


def test_normal_is_what_it_always_was() -> None:
    expected = np.array([0.556706964969635, -1.5724060535430908, -0.8015661835670471], dtype=np.float32)
    np.testing.assert_array_max_ulp(KEY.normal(3), expected, maxulp=1)
    far = Key((1, "noise", 10449, 19)).normal(3, 224, 224)
    expected = np.array([-1.3752707242965698, -0.8765721917152405, 0.8319827914237976], dtype=np.float32)
    np.testing.assert_array_max_ulp(far[0, 0, :3], expected, maxulp=1)


def test_integers_and_permutation_are_what_they_always_were() -> None:
    assert KEY.integers(0, 33, 6).tolist() == [12, 23, 5, 17, 32, 5]
    assert KEY.permutation(8).tolist() == [2, 5, 7, 0, 3, 1, 6, 4]


def test_types_and_shapes() -> None:
    assert KEY.uniform(2, 3).dtype == np.float64 and KEY.uniform(2, 3).shape == (2, 3)
    assert KEY.normal(5).dtype == np.float32 and KEY.normal(5, 3, 1).shape == (5, 3, 1)
    assert KEY.integers(0, 2, 4).dtype == np.int64 and KEY.permutation(4).dtype == np.int64
    assert KEY.uniform(0).shape == (0,) and KEY.permutation(0).shape == (0,) and KEY.permutation(1).tolist() == [0]


def test_child_is_the_longer_path() -> None:
    assert Key((0,)).child("a", 1).path == (0, "a", 1)
    assert Key((0,)).child("a").child(1) == Key((0, "a", 1))


@pytest.mark.parametrize(
    "other",
    [("a", "1"), ("a1",), ("a", 1, ""), ("a", 2), (1, "a"), ("A", 1), ("a", 1, 0), ("a/i:1",), ("a", -1)],
    ids=repr,
)
def test_another_path_draws_other_numbers(other: tuple[str | int, ...]) -> None:
    assert not np.array_equal(Key(("a", 1)).uniform(4), Key(other).uniform(4))


def test_a_slash_in_a_name_does_not_make_two_parts_of_it() -> None:
    assert not np.array_equal(Key(("a/s:b",)).uniform(4), Key(("a", "b")).uniform(4))
    assert not np.array_equal(Key(("a/b",)).uniform(4), Key(("a%2Fb",)).uniform(4))


@given(st.lists(PARTS, max_size=4), st.lists(PARTS, max_size=4))
def test_paths_draw_alike_only_if_they_are_equal(one: list[str | int], other: list[str | int]) -> None:
    same = [(type(p), p) for p in one] == [(type(p), p) for p in other]
    assert np.array_equal(Key(tuple(one)).uniform(2), Key(tuple(other)).uniform(2)) == same


def test_numpy_integers_count_as_integers() -> None:
    assert np.array_equal(Key((np.int64(7), "a")).uniform(3), Key((7, "a")).uniform(3))


def test_order_of_drawing_does_not_matter() -> None:
    first, second = KEY.child(1).normal(5), KEY.child(2).normal(5)
    assert np.array_equal(KEY.child(2).normal(5), second)
    assert np.array_equal(KEY.child(1).normal(5), first)


def test_uniform_is_uniform() -> None:
    x = Key((1, "uniform")).uniform(100_000)
    assert x.min() >= 0 and x.max() < 1
    counts = np.histogram(x, bins=20, range=(0, 1))[0]
    chi2 = ((counts - 5_000) ** 2 / 5_000).sum()
    assert chi2 < 43.8  # the 0.1 % point of chi-square with 19 degrees of freedom
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.01


def test_normal_has_the_moments_of_a_normal() -> None:
    x = Key((1, "normal")).normal(200_000).astype(np.float64)
    assert abs(x.mean()) < 0.008
    assert abs(x.var() - 1) < 0.011
    assert abs((x**3).mean()) < 0.03
    assert abs((x**4).mean() - 3) < 0.08
    assert abs((np.abs(x) < 1).mean() - 0.6827) < 0.004
    assert abs(np.corrcoef(x[:100_000], x[100_000:])[0, 1]) < 0.01  # the two halves of Box-Muller


def test_integers_cover_their_range_evenly_and_no_more() -> None:
    x = Key((1, "integers")).integers(-4, 5, 90_000)
    values, counts = np.unique(x, return_counts=True)
    assert values.tolist() == list(range(-4, 5))
    assert (np.abs(counts - 10_000) < 400).all()


def test_permutation_is_a_permutation_and_fair() -> None:
    firsts = np.zeros(4)
    for i in range(2_000):
        p = Key((1, "permutation", i)).permutation(4)
        assert sorted(p.tolist()) == [0, 1, 2, 3]
        firsts[p[0]] += 1
    assert (np.abs(firsts - 500) < 80).all()
