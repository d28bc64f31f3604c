"""What ``raydc ls`` prints: the axes of the design space from their components' cards, and methods as differences.

A method is shown by what it changes of the method that it extends, a line each. Lists of components are compared by
name, so that one term more is one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from raydc.condense.augment import AUGMENTATIONS
from raydc.condense.discrepancy import DISCREPANCIES
from raydc.condense.initialize import INITIALIZERS
from raydc.config.axes.execution import EXECUTIONS
from raydc.config.axes.optimize import Schedule
from raydc.config.axes.views import Mix
from raydc.config.load import merge
from raydc.config.stages.evaluate import Loss
from raydc.engine.protocols import protocols
from raydc.engine.tree import line_of_descent, read_tree, short
from raydc.errors import ConfigError, nearest
from raydc.labels.codecs import CODECS
from raydc.plan.blocks import GROUPS
from raydc.teachers.small import SMALL

KIND = "method"
SAMPLINGS = {
    "single": "One teacher at every step.",
    "round_robin": "Each teacher in turn, one a step.",
    "random": "One teacher drawn at each step.",
    "all": "The mean objective of all teachers at every step.",
}
"""``synthesize.teachers.sampling``, which has no component of its own."""


POINTS = ("methods", "protocols")
"""What lies in files below ``configs/``."""


def listing(what: str, folder: Path | None = None) -> str:
    """The points (``methods``, ``protocols``) or one axis of the design space, a line each.

    Args:
        what: which.
        folder: of the files of points; None: the one of that name below ``configs``.

    Raises:
        ConfigError: no axis is called so, or the folder holds no method.
    """
    if what in POINTS:
        where = folder or Path("configs", what)
        return methods(where) if what == POINTS[0] else protocols(where)
    if what not in AXES:
        known = [*POINTS, *AXES]
        raise ConfigError(f"nothing is called '{what}'{nearest(what, known)}. Known: {', '.join(known)}")
    entries = AXES[what]()
    width = max(map(len, entries))
    return "\n".join(f"{name:<{width}}  {sentence(text)}" for name, text in entries.items())


def methods(folder: Path) -> str:
    """Every method file: its title and paper, its published numbers, and how it differs from its parent.

    Raises:
        ConfigError: the folder holds no method, or one of them cannot be read.
    """
    files = sorted(folder.glob("*.yaml"), key=lambda file: [p.stem for p in line_of_descent(file, KIND)])
    if not files:
        raise ConfigError(f"no method files in '{folder}'; give their folder with --folder")
    return "\n\n".join("\n".join(_method(file)) for file in files)


def card(package: str, name: str) -> str:
    """The card of a component: the docstring of its file."""
    return import_module(f"{package}.{name}").__doc__ or ""


def sentence(text: str | None) -> str:
    """The first line of a card."""
    return ((text or "").strip().splitlines() or [""])[0]


def differences(parent: Any, child: Any, path: str = "") -> list[str]:
    """What a child changes of its parent, a line each: ``+`` added, ``-`` taken away, otherwise both values."""
    if parent == child:
        return []
    one, other = _by_name(parent), _by_name(child)
    if isinstance(one, dict) and isinstance(other, dict) and one.get("use") == other.get("use"):
        keys = [*one, *(key for key in other if key not in one)]
        listed = isinstance(parent, list)  # a component that is not listed is gone; of one that is, defaults hold
        return [d for k in keys for d in _change(one, other, k, f"{path}.{k}".lstrip("."), listed)]
    return [f"{path}: {short(parent)} -> {short(child)}"]


def _change(one: dict[str, Any], other: dict[str, Any], key: str, path: str, listed: bool) -> list[str]:
    if key not in one:
        return [f"+ {path} {short(other[key])}"]
    if key not in other:
        return [f"- {path}" if listed else f"{path}: {short(one[key])} -> its default"]
    return differences(one[key], other[key], path)


def _by_name(tree: Any) -> Any:
    """A list of components as a mapping of their names; all else as it is."""
    named = isinstance(tree, list) and tree and all(isinstance(item, dict) and "use" in item for item in tree)
    if not named or len({item["use"] for item in tree}) < len(tree):
        return tree
    return {item["use"]: {k: v for k, v in item.items() if k != "use"} for item in tree}


def _method(file: Path) -> Iterator[str]:
    line = line_of_descent(file, KIND)
    tree = reduce(merge, (read_tree(each, KIND) for each in line))
    about = tree.get("method", {})
    yield f"{about.get('name', file.stem)}: {about.get('title', '')}  {about.get('paper', '')}".rstrip()
    if about.get("note"):
        yield f"  {about['note']}"
    if len(line) > 1:
        yield f"  {line[-2].stem}, but"
        parent = reduce(merge, (read_tree(each, KIND) for each in line[:-1]))
        changed = differences(parent | {"method": None, "extends": None}, tree | {"method": None, "extends": None})
        yield from (f"    {text}" for text in changed)


def _cards(package: str, names: dict[str, Any]) -> Callable[[], dict[str, str]]:
    return lambda: {name: card(package, name) for name in names}


def _records(union: Any) -> Callable[[], dict[str, str]]:
    """Of an axis that needs no files: what its records say of themselves, by the name that ``use`` gives."""
    models = get_args(get_args(union)[0])
    return lambda: {get_args(m.model_fields["use"].annotation)[0]: m.__doc__ for m in models}


AXES: dict[str, Callable[[], dict[str, str]]] = {
    "initializers": _cards("raydc.condense.initialize", INITIALIZERS),
    "augmentations": _cards("raydc.condense.augment", AUGMENTATIONS),
    "discrepancies": _cards("raydc.condense.discrepancy", DISCREPANCIES),
    "blocks": lambda: {name: str(make.__doc__) for name, make in GROUPS.items()},
    "samplings": lambda: SAMPLINGS,
    "codecs": lambda: {name: str(codec.__doc__) for name, codec in CODECS.items()},
    "mixes": _records(Mix),
    "losses": _records(Loss),
    "schedules": _records(Schedule),
    "executions": lambda: {name: made.card for name, made in EXECUTIONS.items()},
    "networks": _cards("raydc.teachers.small", SMALL),
}
"""The axes by the name that ``ls`` takes, each a function that gives its components with their cards."""
