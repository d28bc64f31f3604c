"""What the names of class folders mean: classes by name, or numbers that count through the label space."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from raydc.errors import DataError, nearest
from raydc.sources.classes import few

NUMBERED = re.compile(r"([^0-9]*)(\d+)")
"""A number, plain (00017) or behind a word that all folders share (new017, class_17)."""


def meaning(
    folders: Sequence[str], classes: Sequence[str], by: Literal["names", "numbers"] | None, where: str
) -> list[int]:
    """The class of each folder.

    Args:
        folders: their names, all different.
        classes: the label space.
        by: what the names are; None: whichever of the two fits, unless both do and differ.
        where: what the set is called in messages.

    Raises:
        DataError: names that are no classes, numbers out of range or twice, or names that can be read both ways.
    """
    names, numbers = by_name(folders, classes), by_number(folders, len(classes))
    readings = {"names": names, "numbers": numbers}
    if by is not None:
        found = readings[by]
        if isinstance(found, str):
            raise DataError(f"{where}: {found} (adopt.folders: {by})")
        return found
    if isinstance(names, list) and isinstance(numbers, list) and names != numbers:
        n = next(n for n, (a, b) in enumerate(zip(names, numbers, strict=True)) if a != b)
        raise DataError(
            f"{where}: its folders can be read in two ways. '{folders[n]}' is the name of class {names[n]}, and as a "
            f"number it is class {numbers[n]}, '{classes[numbers[n]]}'. Say which: --set adopt.folders=names or numbers"
        )
    for found in (names, numbers):
        if isinstance(found, list):
            return found
    said = numbers if all(NUMBERED.fullmatch(f) for f in folders) else names
    raise DataError(f"{where}: {said}")


def by_name(folders: Sequence[str], classes: Sequence[str]) -> list[int] | str:
    """The classes of folders called by class names, or why they are not."""
    index = {name: c for c, name in enumerate(classes)}
    unknown = [f for f in folders if f not in index]
    if unknown:
        return (
            f"{len(unknown)} of its {len(folders)} class folders are none of the {len(classes)} classes: "
            f"{few(unknown)}{nearest(unknown[0], list(classes))}. Expected class names ({few(list(classes), 3)}) or "
            f"the numbers 0 to {len(classes) - 1}"
        )
    return [index[f] for f in folders]


def by_number(folders: Sequence[str], count: int) -> list[int] | str:
    """The classes of folders called by numbers, or why they are not."""
    found = [NUMBERED.fullmatch(f) for f in folders]
    words = {m.group(1) for m in found if m}
    if not all(found) or len(words) > 1:
        other = next((f for f, m in zip(folders, found, strict=True) if not m), None)
        return f"folder '{other}' is no number" if other else f"folders are numbered behind different words: {words}"
    numbers = [int(m.group(2)) for m in found if m]
    top = max(numbers, default=0)
    if top >= count:
        return (
            f"its folders are numbered {min(numbers)} to {top}, but there are {count} classes: expected 0 to "
            f"{count - 1}. It is of another label space, or its numbers begin with 1"
        )
    if len(set(numbers)) < len(numbers):
        twice = next(n for n in numbers if numbers.count(n) > 1)
        named = [f for f, n in zip(folders, numbers, strict=True) if n == twice]
        return f"two folders have the number {twice}: {few(named)}"
    return numbers
