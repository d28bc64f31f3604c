"""YAML files as plain trees, with the files that they extend: what a listing shows, before anything is validated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from raydc.config.load import MAX_EXTENDS
from raydc.errors import ConfigError


def line_of_descent(file: Path, kind: str) -> tuple[Path, ...]:
    """The first ancestor, ..., the parent, the file; ``kind`` is what a message calls it.

    Raises:
        ConfigError: more parents than are followed, or one that cannot be read.
    """
    line: tuple[Path, ...] = (file,)
    while parent := read_tree(line[0], kind).get("extends"):
        if len(line) > MAX_EXTENDS:
            raise ConfigError(f"{file} has more than {MAX_EXTENDS} parents, or is one of them itself")
        line = (line[0].parent / str(parent), *line)
    return line


def read_tree(file: Path, kind: str) -> dict[str, Any]:
    """One file as it is written.

    Raises:
        ConfigError: it cannot be read, or holds no mapping.
    """
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {kind} file '{file}': {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} holds {type(tree).__name__}, expected a {kind}: a mapping of keys")
    return tree


def short(value: Any) -> str:
    """A value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()
