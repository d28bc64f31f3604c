"""Splits and name tables, the held-out part, and the built-in digits."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from raydc.errors import ConfigError, DataError
from raydc.keys import Key
from raydc.sources import digits
from raydc.sources.holdout import hold_out
from raydc.sources.split import Names, Split

from .make import pickled, source

Labels = st.lists(st.integers(0, 6), min_size=1, max_size=60)


def split_of(labels: list[int]) -> Split:
    n = len(labels)
    offset, size = np.arange(n, dtype=np.int64), np.ones(n, np.int64)
    return Split(("shard",), np.zeros(n, np.int32), offset, size, np.array(labels, np.int32))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=12), st.text(max_size=3))
def test_a_name_table_is_a_sequence_of_its_strings(strings: list[str], prefix: str) -> None:
    table = pickled(Names.of(strings, prefix))
    assert list(table) == [prefix + s for s in strings]
    assert Names.join([Names.of(strings[:3]), Names.of(strings[3:])], prefix)[:] == [prefix + s for s in strings]
    if strings:
        assert table[-1] == prefix + strings[-1]
    with pytest.raises(IndexError):
        table[len(strings)]


def test_a_file_name_that_is_not_utf8_survives() -> None:
    assert Names.of(["a\udcff.jpg"])[0] == "a\udcff.jpg"


@given(Labels)
def test_images_of_a_class_come_in_canonical_order(labels: list[int]) -> None:
    split = split_of(labels)
    assert split.counts(8).tolist() == [labels.count(c) for c in range(8)]
    for c in range(-1, 9):
        found = split.of_class(c)
        assert found.dtype == np.int64 and found.tolist() == [i for i, label in enumerate(labels) if label == c]


@given(Labels, st.permutations(range(7)), st.integers(2, 7))
def test_a_subset_is_numbered_in_its_own_order(labels: list[int], order: list[int], count: int) -> None:
    chosen = order[:count]
    kept = split_of(labels).keep(chosen)
    expected = [(i, chosen.index(label)) for i, label in enumerate(labels) if label in chosen]
    assert list(zip(kept.offset.tolist(), kept.label.tolist(), strict=True)) == expected


@given(Labels, st.floats(0.01, 0.99), st.integers(0, 5))
def test_every_class_of_two_images_has_one_on_both_sides(labels: list[int], fraction: float, seed: int) -> None:
    names = tuple(f"c{c}" for c in range(7))
    everything = split_of(labels)
    if max(labels.count(c) for c in range(7)) < 2:
        with pytest.raises(DataError, match="every class has one image only"):
            hold_out(names, everything, fraction, Key((seed,)))
        return
    train, held = hold_out(names, everything, fraction, Key((seed,)))
    assert sorted(train.offset.tolist() + held.offset.tolist()) == list(range(len(labels)))
    assert np.all(np.diff(train.offset) > 0) and np.all(np.diff(held.offset) > 0)
    for n, kept, out in zip(everything.counts(7), train.counts(7), held.counts(7), strict=True):
        assert out == (min(max(round(n * fraction), 1), n - 1) if n > 1 else 0) and kept == n - out


def test_the_held_out_part_depends_on_seed_and_class_name_only() -> None:
    names = ("ant", "bee", "cow")
    everything = split_of([0] * 20 + [1] * 20 + [2] * 20)
    chosen = hold_out(names, everything, 0.3, Key((1,)))[1].offset
    assert np.array_equal(chosen, hold_out(names, everything, 0.3, Key((1,)))[1].offset)
    assert not np.array_equal(chosen, hold_out(names, everything, 0.3, Key((2,)))[1].offset)
    some = hold_out(("cow", "ant"), everything.keep([2, 0]), 0.3, Key((1,)))[1].offset
    assert np.array_equal(some, [i for i in chosen if not 20 <= i < 40])


def test_a_split_pickles_without_what_it_can_work_out() -> None:
    split = split_of([2, 0, 1, 0])
    before = len(pickle.dumps(split))
    split.of_class(0)
    assert len(pickle.dumps(split)) == before
    assert pickled(split).of_class(0).tolist() == [1, 3]


def test_digits_are_all_there_with_a_held_out_part() -> None:
    data = source("digits", image_size=16, validation_fraction=0.25)
    assert data.classes == tuple("0123456789") and data.held_out
    assert len(data.train) + len(data.validation) == 1797
    assert set(np.unique(data.validation.label)) == set(range(10))
    image = data.image(data.train, 0)
    assert image.shape == (16, 16, 3) and np.array_equal(image[..., 0], image[..., 2])
    images, labels = digits.load()
    found = load_digits()
    assert np.array_equal(images[..., 1], np.rint(found.images * (255 / 16))) and np.array_equal(labels, found.target)
    assert images.shape == (1797, 8, 8, 3) and images.max() == 255 and images.min() == 0
    assert source("digits").image(data.train, 5).shape == (8, 8, 3)
    assert np.array_equal(source("digits").image(data.train, 5), images[data.train.offset[5]])
    assert labels[data.train.offset[5]] == data.train.label[5]
    assert data.raw(data.train, 0).startswith(b"\x89PNG")


def test_digits_can_be_renamed_and_chosen() -> None:
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    data = source("digits", classes=names, subset=["nine", 0])
    assert data.classes == ("nine", "zero") and len(data.train) + len(data.validation) == 180 + 178
    with pytest.raises(ConfigError, match="has 3 classes, the digits 10"):
        source("digits", classes=3)


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    digits.load.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ConfigError, match=r"pip install 'raydc\[demo\]'"):
        source("digits")
    digits.load.cache_clear()


def test_names_alone_are_a_source_without_images() -> None:
    data = source("none", classes=12, subset=[11, "03"])
    assert data.classes == ("11", "03") and len(data.train) == len(data.validation) == 0 and not data.held_out
    assert len(data.fingerprint()) == 64


def test_the_fingerprint_tells_data_sets_apart() -> None:
    first = source("digits")
    assert first.fingerprint() == source("digits").fingerprint() == pickled(first).fingerprint()
    others = [source("digits", seed=1), source("digits", image_size=9), source("digits", subset=[0, 1])]
    assert len({first.fingerprint(), *(o.fingerprint() for o in others)}) == 4
