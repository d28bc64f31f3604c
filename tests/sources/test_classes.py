"""The label space: lists, files, counts, and a choice among the classes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydc.errors import ConfigError, DataError
from raydc.sources.classes import class_list, few, numbered, select, titles


def test_a_file_has_one_name_a_line_in_its_own_order(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes("\ufeffn02 zebra\r\nn01 ant\r\n\r\n".encode())
    assert class_list(str(tmp_path / "classes.txt")) == ("n02 zebra", "n01 ant")
    assert class_list((tmp_path / "classes.txt").as_uri()) == ("n02 zebra", "n01 ant")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a\nb\na\n", "'a' stands at entry 1 and again at 3"),
        (b"a\n\nb\n", "entry 2 is empty"),
        (b"a\n", r"found 1 class\(es\), expected 2 or more"),
        (b"", "expected 2 or more"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_a_bad_file_is_bad_data(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "list.txt").write_bytes(text)
    with pytest.raises(DataError, match=words) as told:
        class_list(str(tmp_path / "list.txt"))
    assert "list.txt" in str(told.value)


def test_a_missing_file_is_bad_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        class_list(str(tmp_path / "none.txt"))


@pytest.mark.parametrize(
    ("spec", "words"), [(["a", "a"], "again at 2"), (["a"], "expected 2"), (1, "expected 2"), (None, "missing")]
)
def test_a_bad_list_is_bad_configuration(spec: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        class_list(spec)  # type: ignore[arg-type]


@given(st.integers(2, 12_000))
def test_a_count_gives_names_that_sort_as_they_count(count: int) -> None:
    names = class_list(count)
    assert len(names) == count and list(names) == sorted(names) and int(names[-1]) == count - 1
    assert names == numbered(count)


@given(st.data(), st.integers(2, 300))
def test_a_choice_by_name_or_index_keeps_its_order(data: st.DataObject, count: int) -> None:
    classes = [f"class {c}" for c in range(count)]
    wanted = data.draw(st.lists(st.integers(0, count - 1), min_size=2, max_size=20, unique=True))
    spelled = [c if data.draw(st.booleans()) else classes[c] for c in wanted]
    assert select(spelled, classes, "x") == wanted
    assert select(None, classes, "x") == list(range(count))


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (["zebar", "ant"], "data.subset: 'zebar' is none of the 3 classes, did you mean 'zebra'"),
        ([0, 3], "class index 3 is out of range; expected 0 to 2"),
        ([-1, 0], "class index -1"),
        ([0, "ant", 2], "more than once: 'ant'"),
        ([1], "expected 2 or more"),
        ([], "expected 2 or more"),
    ],
)
def test_an_impossible_choice_is_refused(chosen: list[str | int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        select(chosen, ["ant", "bee", "zebra"], "data.subset")


def test_long_lists_are_shortened_in_messages() -> None:
    assert few(["a", "b"]) == "'a', 'b'"
    assert few([str(i) for i in range(10)], 2) == "'0', '1' and 8 more"


def test_titles_are_what_people_call_the_classes(tmp_path: Path) -> None:
    file = tmp_path / "titles.txt"
    file.write_text("n02\tzebra, a horse\nn09\tother\nn01\tant\n")
    assert titles(str(file), ["n01", "n02", "n03"]) == ["ant", "zebra, a horse", "n03"]
    assert titles(None, ["n01"]) == ["n01"]
    file.write_text("n01\tant\nn02 zebra\n")
    with pytest.raises(DataError, match=r"line 2: found 'n02 zebra', expected NAME<tab>TITLE"):
        titles(str(file), ["n01"])
