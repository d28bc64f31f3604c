"""Blocks: every image once, in the company of other classes, whoever computes them."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydc.plan.blocks import GROUPS, across_classes, class_major, launches, within_class

CLASSES = st.lists(st.integers(0, 20_000), unique=True, max_size=60)


@pytest.mark.parametrize("group", sorted(GROUPS))
@given(classes=CLASSES, ipc=st.integers(1, 7), size=st.integers(1, 70))
def test_no_image_is_lost_and_none_comes_twice(group: str, classes: list[int], ipc: int, size: int) -> None:
    blocks = GROUPS[group](classes, ipc, size)
    count = Counter(entry for block in blocks for entry in block.entries)
    assert count == {(c, i): 1 for c in classes for i in range(ipc)}
    assert all(0 < len(block.entries) == len(block) <= size for block in blocks)


@pytest.mark.parametrize("group", sorted(GROUPS))
@given(classes=CLASSES, ipc=st.integers(1, 7), size=st.integers(1, 70))
def test_ids_are_unique_sorted_and_safe_in_paths(group: str, classes: list[int], ipc: int, size: int) -> None:
    blocks = GROUPS[group](classes, ipc, size)
    ids = [block.id for block in blocks]
    assert ids == sorted(set(ids))
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert all(set(i) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for i in ids)


@given(classes=CLASSES, ipc=st.integers(1, 7), size=st.integers(1, 70))
def test_images_of_a_block_are_of_different_classes(classes: list[int], ipc: int, size: int) -> None:
    for block in across_classes(classes, ipc, size):
        labels = [label for label, _ in block.entries]
        assert len(set(labels)) == len(labels)
        assert len({index for _, index in block.entries}) == 1


@given(classes=CLASSES, ipc=st.integers(1, 6), size=st.integers(1, 70))
def test_more_images_a_class_leave_the_first_blocks_as_they_were(classes: list[int], ipc: int, size: int) -> None:
    assert across_classes(classes, ipc + 1, size)[: len(across_classes(classes, ipc, size))] == across_classes(
        classes, ipc, size
    )


@given(classes=CLASSES, ipc=st.integers(1, 7), size=st.integers(1, 70))
def test_blocks_within_a_class_hold_one_class(classes: list[int], ipc: int, size: int) -> None:
    blocks = within_class(classes, ipc, size)
    assert all(len(set(block.classes)) == 1 for block in blocks)
    assert len(blocks) == len(classes) * -(-ipc // size)


@given(classes=CLASSES, ipc=st.integers(1, 7), size=st.integers(1, 70))
def test_class_major_blocks_go_class_by_class(classes: list[int], ipc: int, size: int) -> None:
    blocks = class_major(classes, ipc, size)
    assert [entry for block in blocks for entry in block.entries] == [(c, i) for c in classes for i in range(ipc)]
    assert all(len(block) == size for block in blocks[:-1])


def test_the_published_class_major_batches() -> None:
    """G-VBSM: 80 images are 8 classes at IPC 10; DELT: 100 images are 2 classes at IPC 50 (specifications)."""
    assert len(set(class_major(range(1_000), 10, 80)[0].classes)) == 8
    assert len(set(class_major(range(1_000), 50, 100)[0].classes)) == 2


def test_the_published_composition() -> None:
    """SRe2L: 100 consecutive classes a batch, one pass an image index; the last batch of 10,450 classes holds 50."""
    blocks = across_classes(range(10_450), 20, 100)
    assert len(blocks) == 105 * 20
    assert blocks[1].entries == tuple((c, 0) for c in range(100, 200))
    assert [len(b.entries) for b in blocks[:105]] == [100] * 104 + [50]
    assert blocks[105].entries[0] == (0, 1) and blocks[105].id == "i00001-c000000"
    assert len(across_classes(range(1_000), 50, 100)) == 500


def test_a_list_of_blocks_grows_with_blocks_and_not_with_images() -> None:
    blocks = across_classes(range(10_450), 20, 100)
    assert len({id(b.classes) for b in blocks}) == 105 and len({id(b.indices) for b in blocks}) <= 40
    assert max(len(pickle.dumps(b)) for b in blocks) < 1_000


@pytest.mark.parametrize("group", sorted(GROUPS))
@given(data=st.tuples(CLASSES, st.integers(1, 7), st.integers(1, 9), st.integers(1, 5), st.integers(1, 3)))
def test_launches_are_of_blocks_that_begin_alike(group: str, data: tuple[list[int], int, int, int, int]) -> None:
    classes, ipc, size, count, rounds = data
    blocks = GROUPS[group](classes, ipc, size)
    found = launches(blocks, count, lambda index: index % rounds)
    assert sorted(block.number for launch in found for block in launch) == [block.number for block in blocks]
    assert [launch[0].number for launch in found] == sorted(launch[0].number for launch in found)
    ways = [{tuple(index % rounds for index in block.indices) for block in launch} for launch in found]
    assert all(len(way) == 1 for way in ways)
    short = [way.pop() for way, launch in zip(ways, found, strict=True) if len(launch) < count]
    assert len(short) == len(set(short)), "none is left open while another one of its kind begins"
