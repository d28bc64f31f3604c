"""The label space of a data set: a list of names from a file, a list or a count, and a choice among them."""

from __future__ import annotations

from collections.abc import Sequence

from raydc.errors import ConfigError, DataError, RaydcError, nearest
from raydc.store.faults import clean
from raydc.store.folder import read_url


def numbered(count: int) -> tuple[str, ...]:
    """Return the names of classes that have none: 0 .. count-1, padded with zeros so that they sort as they count."""
    width = len(str(count - 1))
    return tuple(str(c).zfill(width) for c in range(count))


def class_list(spec: str | Sequence[str] | int | None) -> tuple[str, ...]:
    """Return the class names that ``data.classes`` (or a teacher's ``classes``) stands for; position = index.

    Args:
        spec: The URL of a text file with one name a line, a list of names, or a count.

    Raises:
        ConfigError: a list or count that cannot be: fewer than 2 classes, a name twice, an empty name.
        DataError: the same in a file, or a file that is missing or not UTF-8 text.
    """
    if spec is None:
        raise ConfigError("data.classes is missing: give a list of names, the URL of a text file, or their number")
    error: type[RaydcError] = ConfigError
    if isinstance(spec, int):
        names, origin = list(numbered(max(spec, 1))), f"data.classes is {spec}"
    elif isinstance(spec, str):
        names, origin, error = _lines(spec), f"class list {clean(spec)}", DataError
    else:
        names, origin = list(spec), "the class list of the configuration"
    if len(names) < 2:
        raise error(f"{origin}: found {len(names)} class(es), expected 2 or more")
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if not name.strip():
            raise error(f"{origin}: entry {i + 1} is empty; expected one class name a line, without gaps")
        if name in seen:
            raise error(f"{origin}: '{name}' stands at entry {seen[name] + 1} and again at {i + 1}; names must differ")
        seen[name] = i
    return tuple(names)


def select(chosen: Sequence[str | int] | None, classes: Sequence[str], where: str) -> list[int]:
    """Return the class indices that a list of names and indices stands for, in its order; ``None`` stands for all.

    Args:
        chosen: Class names (``str``) or indices (``int``); no class twice.
        classes: The label space.
        where: The configuration key, for messages.

    Raises:
        ConfigError: a name or index that is not in the label space, a class twice, fewer than two classes.
    """
    if chosen is None:
        return list(range(len(classes)))
    index = {name: i for i, name in enumerate(classes)}
    found: list[int] = []
    for entry in chosen:
        if isinstance(entry, int):
            if not 0 <= entry < len(classes):
                raise ConfigError(f"{where}: class index {entry} is out of range; expected 0 to {len(classes) - 1}")
            found.append(entry)
        elif entry in index:
            found.append(index[entry])
        else:
            raise ConfigError(
                f"{where}: '{entry}' is none of the {len(classes)} classes{nearest(entry, list(classes))} "
                "(an index must be written as a number, not as text)"
            )
    twice = sorted({classes[i] for i in found if found.count(i) > 1}) if len(set(found)) < len(found) else []
    if twice:
        raise ConfigError(f"{where}: named more than once: {few(twice)}")
    if len(found) < 2:
        raise ConfigError(f"{where}: names {len(found)} class(es), expected 2 or more")
    return found


def titles(url: str | None, classes: Sequence[str]) -> list[str]:
    """Return what people call the classes, by a file of lines ``NAME<tab>TITLE``; names that it lacks stay as they are.

    Raises:
        DataError: a missing file, not UTF-8 text, or a line of another form.
    """
    if url is None:
        return list(classes)
    found = {}
    for number, line in enumerate(_lines(url), start=1):
        name, tab, title = line.partition("\t")
        if not tab:
            raise DataError(f"titles {clean(url)}, line {number}: found '{line[:40]}', expected NAME<tab>TITLE")
        found[name] = title.strip()
    return [found.get(name) or name for name in classes]


def few(names: Sequence[str], most: int = 5) -> str:
    """Return the first names in quotes and how many more there are, for messages."""
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _lines(url: str) -> list[str]:
    try:
        text = read_url(url).decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise DataError(
            f"class list {clean(url)} is not UTF-8 text ({cause}); expected one class name a line"
        ) from cause
    return [line.strip() for line in text.rstrip().splitlines()]
