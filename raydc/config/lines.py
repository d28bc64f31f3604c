"""Where a value stands in a YAML file, so that an error can name the line that it comes from.

:func:`line_of` looks one place up in one text. Where several files are merged, each key carries its own place along:
:func:`marked` reads such a tree and :func:`place_of` asks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml


class Key(str):
    """A key of a mapping that knows where it was written; to all else it is a string like any other."""

    __slots__ = ("at",)

    at: str
    """``FILE:LINE``, or the option that set it."""


def key(text: str, at: str) -> Key:
    """A key and its place."""
    made = Key(text)
    made.at = at
    return made


def marked(yaml_text: str, origin: str) -> Any:
    """Read YAML into a tree whose keys know their places.

    Raises:
        yaml.YAMLError: it is not valid.
    """
    return _marked(yaml.safe_load(yaml_text), yaml.compose(yaml_text, Loader=yaml.SafeLoader), origin, {})


def plain(tree: Any) -> Any:
    """The tree with strings for keys."""
    if isinstance(tree, dict):
        return {str(k) if isinstance(k, Key) else k: plain(v) for k, v in tree.items()}
    return [plain(item) for item in tree] if isinstance(tree, list) else tree


def place_of(tree: Any, path: Sequence[str | int]) -> str:
    """Where a value of a marked tree was written, or the nearest section around it; empty if nothing is known."""
    place = ""
    for part in path:
        if isinstance(tree, dict) and part in tree:
            place = getattr(next(k for k in tree if k == part), "at", place)
            tree = tree[part]
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
            first = next(iter(tree), None) if isinstance(tree, dict) else None
            place = getattr(first, "at", place)
        else:
            break
    return place


def _marked(tree: Any, node: Any, origin: str, known: dict[int, Any]) -> Any:
    """Go through values and their nodes side by side; what an alias repeats is marked once."""
    if id(node) in known:
        return known[id(node)]
    if isinstance(tree, dict) and isinstance(node, yaml.MappingNode):
        nodes = {k.value: (k, v) for k, v in node.value if isinstance(k, yaml.ScalarNode)}
        found: dict[Any, Any] = {}
        known[id(node)] = found
        for name, value in tree.items():
            name_node, value_node = nodes.get(name, (None, None)) if isinstance(name, str) else (None, None)
            said = name if name_node is None else key(name, f"{origin}:{name_node.start_mark.line + 1}")
            found[said] = _marked(value, value_node, origin, known) if value_node is not None else value
        return found
    if isinstance(tree, list) and isinstance(node, yaml.SequenceNode):
        items: list[Any] = []
        known[id(node)] = items
        items += [_marked(value, inner, origin, known) for value, inner in zip(tree, node.value, strict=True)]
        return items
    return tree


def line_of(yaml_text: str, path: str | Sequence[str | int]) -> int | None:
    """Return the line, from 1, of the value at a path of keys and indices, or of the nearest section around it.

    Args:
        yaml_text: the file.
        path: ``synthesize.objective.1.weight``, or its parts where a key holds a dot.

    Returns:
        None where the text is no YAML or not even the first part of the path is in it.
    """
    try:
        node = yaml.compose(yaml_text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    line = None
    for part in path.split(".") if isinstance(path, str) else path:
        if isinstance(node, yaml.MappingNode):
            inside = [(key, value) for key, value in node.value if getattr(key, "value", None) == str(part)]
            place, node = inside[-1] if inside else (None, None)
        elif isinstance(node, yaml.SequenceNode) and str(part).isdecimal() and int(part) < len(node.value):
            place = node = node.value[int(part)]
        else:
            place = node = None
        if place is None:
            break
        line = place.start_mark.line + 1
    return line
