"""YAML to a typed run: ``extends``, overrides, and every mistake reported at once with the nearest valid name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from raydc.config.lines import key as marked_key
from raydc.config.lines import marked, plain
from raydc.config.mistakes import explain
from raydc.config.schema import RunConfig
from raydc.errors import ConfigError

MAX_EXTENDS = 3
"""A run, its method and two parents of that (EDC, G-VBSM, SRe2L); deeper chains hide where a value comes from."""


def load(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a run's YAML, apply ``key.path=value`` overrides, and validate.

    Raises:
        ConfigError: with every mistake of the file, one a line.
    """
    tree = _apart(_read(Path(path), MAX_EXTENDS))
    for text in overrides or []:
        _override(tree, text)
    return validate(tree, str(path))


def validate(tree: dict[str, Any], origin: str) -> RunConfig:
    """Turn a plain tree into a run, or raise a ConfigError that lists all its mistakes."""
    try:
        return RunConfig.model_validate(plain(tree))
    except ValidationError as error:
        lines = explain(error, tree)
        head = f"{origin}: {len(lines)} mistake{'s' if len(lines) > 1 else ''}"
        raise ConfigError("\n  ".join([head, *lines])) from None


def override(run: RunConfig, overrides: list[str]) -> RunConfig:
    """Apply ``key.path=value`` overrides to a run and validate it again."""
    tree = run.model_dump(mode="json", by_alias=True)
    for text in overrides:
        _override(tree, text)
    return validate(tree, run.name)


def dump(run: RunConfig) -> str:
    """Write a run as YAML that :func:`load` reads back to an equal run."""
    return yaml.safe_dump(run.model_dump(mode="json", by_alias=True), sort_keys=False, width=100)


def identity(run: RunConfig) -> dict[str, Any]:
    """The part of a run that decides its images: not where it runs, where it is written, how it is labelled or judged.

    The method's name is in every sample; threads, execution and the blocks of a launch are part of the arithmetic.
    Label sets and students are told apart by digests of their own. Statistics are too: in batches of another size they
    differ by the rounding of the network's arithmetic, and a run keeps those that it has found, so a batch that does
    not fit a device may be lowered. Their precision stays: the same run elsewhere would be held against other numbers.
    A set that is adopted owes nothing to synthesis, and where its teachers were found says nothing of them.
    """
    watched = {"checkpoint_every", "snapshots", "log_every"}
    elsewhere = dict.fromkeys(("name", "method", "engine", "output", "relabel", "evaluate"), True)
    made: Any = watched if run.adopt is None else True
    stored = {"statistics": {"store", "batch"}}
    partly = {"data": {"titles", "train_images"}, "squeeze": stored, "synthesize": made, "adopt": {"teachers"}}
    left_out: Any = {**elsewhere, **partly}
    tree = run.model_dump(mode="json", by_alias=True, exclude=left_out)
    arithmetic = {name: getattr(run.engine, name) for name in ("threads", "blocks_per_launch")}
    arithmetic["execution"] = run.engine.execution.synthesize
    return {**tree, "method": {"name": run.method.name}, "engine": arithmetic}


def digest(tree: Any) -> str:
    """SHA-256 of a JSON tree in canonical form."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """The dotted paths at which two trees differ, with both values; lists of one length are compared one by one."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        return [d for k in keys for d in differences(one.get(k), other.get(k), f"{path}.{k}".lstrip("."))]
    return [] if one == other else [f"{path}: {json.dumps(one)} -> {json.dumps(other)}"]


def _read(path: Path, hops: int) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"cannot read config '{path}': {reason}. Give the path of a YAML file") from None
    try:
        tree = marked(text, str(path))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        found = type(tree).__name__
        raise ConfigError(f"{path} holds {found}, expected a mapping of keys such as 'name', 'data', 'synthesize'")
    return _extend(tree, path, hops)


def _extend(tree: dict[str, Any], path: Path, hops: int) -> dict[str, Any]:
    """Resolve ``extends`` in this mapping and in the mappings below it; lists are replaced whole."""
    own = {k: _extend(v, path, hops) if isinstance(v, dict) else v for k, v in tree.items() if k != "extends"}
    parent = tree.get("extends")
    if parent is None:
        return own
    if hops == 0:
        raise ConfigError(f"{path} extends '{parent}': a chain of more than {MAX_EXTENDS} parents is not followed")
    found = path.parent / str(parent)
    if not found.exists():
        written = next(getattr(k, "at", str(path)) for k in tree if k == "extends")
        raise ConfigError(
            f"there is no '{found}', which 'extends: {parent}' asks for [{written}]. "
            "The path is relative to the file that it stands in"
        )
    return merge(_read(found, hops - 1), own)


def _apart(tree: Any) -> Any:
    """The same tree with nothing in two places: an override of one must not change what a YAML alias repeats."""
    if isinstance(tree, dict):
        return {k: _apart(v) for k, v in tree.items()}
    return [_apart(v) for v in tree] if isinstance(tree, list) else tree


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge two trees: mappings key by key, everything else replaced. A mapping with another ``use`` replaces whole."""
    written = {key: key for key in over}  # a key that both have says where the one that counts was written
    merged = {written.get(key, key): value for key, value in base.items()}
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("use", old.get("use")) == old.get("use"):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def _index(node: list[Any], part: str, text: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise ConfigError(f"--set {text!r}: '{part}' is not an index of a list of {len(node)}, counted from 0")
    return int(part)


def _override(tree: dict[str, Any], text: str) -> None:
    key, sep, value = text.partition("=")
    if not sep or not key:
        raise ConfigError(f"--set {text!r} is not of the form key.path=value, for example synthesize.steps=500")
    node: Any = tree
    *parents, last = key.strip().split(".")
    for part in parents:
        node = node[_index(node, part, text)] if isinstance(node, list) else node.setdefault(part, {})
        if not isinstance(node, (dict, list)):
            raise ConfigError(f"--set {text!r}: '{part}' is not a section")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        parsed = value
    if isinstance(node, list):
        node[_index(node, last, text)] = parsed
    else:
        node.pop(last, None)
        node[marked_key(last, "--set")] = parsed
