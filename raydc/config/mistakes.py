"""What is wrong with a configuration, in words: every mistake once, where it is, and the nearest valid name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from raydc.config.lines import place_of
from raydc.config.schema import RunConfig
from raydc.errors import nearest

_EXPECTED = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "list": "a list",
    "tuple": "a list", "dict": "a section of keys and values", "model": "a section of keys and values",
}  # fmt: skip
"""What pydantic's kinds of errors about types expect, in the words of YAML."""


@dataclass(frozen=True)
class _Mistake:
    """One error of pydantic's, and where it lies in the user's own tree."""

    error: dict[str, Any]
    path: tuple[str | int, ...]
    """Keys and indices alone, the path that ``--set`` takes."""
    choice: tuple[str | int, ...] | None
    """The path of the value for which several types were tried and each failed, if this error is of one of them."""


def explain(error: ValidationError, tree: dict[str, Any]) -> list[str]:
    """One line for each mistake in ``tree``: where, what was found, what was expected, and the file and line."""
    lines: list[str] = []
    found = [_place(dict(e), tree) for e in error.errors()]
    for mistake in found:
        rivals = [m for m in found if m.choice == mistake.choice] if mistake.choice is not None else [mistake]
        if mistake in _telling(rivals):
            place = place_of(tree, mistake.path)
            said = f"{'.'.join(map(str, mistake.path)) or 'config'}{_words(mistake.error)}"
            line = f"{said} [{place}]" if place else said
            lines += [line] if line not in lines else []
    return lines


def _telling(rivals: list[_Mistake]) -> list[_Mistake]:
    """Of the errors of the types tried for one value, those of the type that the user meant."""
    deeper = [m for m in rivals if m.choice is not None and len(m.path) > len(m.choice)]
    right_type = [m for m in rivals if not m.error["type"].endswith(("_type", "_parsing"))]
    return deeper or right_type or rivals


def _place(error: dict[str, Any], tree: Any) -> _Mistake:
    """Follow an error's location through the user's tree; parts that are not in it name the type that was tried."""
    path: list[str | int] = []
    choice, node, loc = None, tree, error["loc"]
    for n, part in enumerate(loc):
        if isinstance(node, dict) and (part in node or (error["type"] == "missing" and n == len(loc) - 1)):
            path.append(part)
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int):
            path.append(part)
            node = node[part] if part < len(node) else None
        elif not (isinstance(node, dict) and node.get("use") == part):
            choice = tuple(path)
    return _Mistake(error, tuple(path), choice)


def _words(error: dict[str, Any]) -> str:
    found, kind, context = error.get("input"), error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_keys(error["loc"])
        return f": unknown key{nearest(str(error['loc'][-1]), known)}{_listed(known)}"
    if kind == "missing":
        return ": missing, and it has no default"
    if kind == "union_tag_invalid":
        tags = re.findall(r"'([^']*)'", context["expected_tags"])
        return f".use: '{context['tag']}' is not known{nearest(context['tag'], tags)}{_listed(tags)}"
    if kind == "union_tag_not_found":
        return f": expected a mapping that says which component to 'use', found {found!r}"
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", context["expected"])
        return f": '{found}' is not known{nearest(str(found), words)}{_listed(words)}"
    for ending, expected in _EXPECTED.items():
        if kind in (f"{ending}_type", f"{ending}_parsing", f"{ending}_from_float"):
            return f": expected {expected}, found {found!r}"
    message = error["msg"].removeprefix("Value error, ")
    return f": {message}" if kind == "value_error" and isinstance(found, dict) else f": {message}, found {found!r}"


def _listed(known: list[str]) -> str:
    return f" (known: {', '.join(known)})" if known else ""


def _known_keys(loc: tuple[Any, ...]) -> list[str]:
    """The valid keys beside the unknown one at ``loc``, found by walking the schema."""
    models: list[Any] = [RunConfig]
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        step = [f.annotation for m in models for n, f in m.model_fields.items() if part in (n, f.alias)]
        inner = [x for a in step for x in _models(a)]
        models = inner or [m for m in models if part in _tags(m)] or models
    return sorted({f.alias or n for m in models for n, f in m.model_fields.items()})


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (list, tuple, Union, UnionType, Annotated):
        return [m for a in get_args(annotation) for m in _models(a)]
    return []


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    use = model.model_fields.get("use")
    return (*(get_args(use.annotation) if use else ()), model.__name__)
