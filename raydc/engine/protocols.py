"""What ``raydc ls protocols`` prints: a line for each way to judge, with what its students see and where it is from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from raydc.config.load import merge
from raydc.engine.tree import line_of_descent, read_tree, short
from raydc.errors import ConfigError

LABELS = "-labels"
"""What ends the name of the file that holds a protocol's labels."""
HEADINGS = ("protocol", "students", "epochs", "batch", "loss", "rate", "views", "source")
KIND = "protocol"
RUNS = "the run's"
METHODS = "the method's"
"""What a file for a data set leaves to the method."""


def protocols(folder: Path) -> str:
    """Every file of a protocol as a line of a table; the files of labels are part of their protocols' lines.

    Raises:
        ConfigError: the folder holds no protocol, or one of them cannot be read.
    """
    files = [f for f in sorted(folder.glob("*.yaml")) if not f.stem.endswith(LABELS)]
    rows = [_row(file) for file in files if _whole(file).keys() != {"verifiers"}]  # these judge no students
    if not rows:
        raise ConfigError(f"no protocol files in '{folder}'; give their folder with --folder")
    widths = [max(len(row[n]) for row in [HEADINGS, *rows]) for n in range(len(HEADINGS))]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
                     for row in [HEADINGS, *rows])  # fmt: skip


def _row(file: Path) -> tuple[str, ...]:
    tree = _whole(file)
    beside = file.with_name(f"{file.stem}{LABELS}.yaml")
    labels = _whole(beside) if beside.exists() else {}
    students = ", ".join(student["name"] for student in tree.get("students", [])) or RUNS
    rates = (tree.get("select") or {}).get("lr")
    rate = f"of {len(rates)}" if rates else short(tree["optimizer"]["lr"]) if "optimizer" in tree else METHODS
    loss = _loss(tree["loss"]) if "loss" in tree else METHODS
    if tree.get("labels") == ["hard"]:
        loss = "cross-entropy"
    count = [str(tree.get(key, METHODS)) for key in ("epochs", "batch")]
    return (file.stem, students, *count, loss, rate, _seen(tree, labels), _source(file))


def _whole(file: Path) -> dict[str, Any]:
    return reduce(merge, (read_tree(each, KIND) for each in line_of_descent(file, KIND)))


def _loss(loss: Mapping[str, Any]) -> str:
    warm = loss.get("temperature", "")
    warm = f"{warm['start']} to {warm['least']}" if isinstance(warm, dict) else warm
    said = {"kl": f"kl T {warm}", "mse_ce": f"mse + {loss.get('gamma', '')} ce"}
    return said.get(loss["use"], loss["use"])


def _seen(tree: Mapping[str, Any], labels: Mapping[str, Any]) -> str:
    """The views: of soft labels, and of hard ones where these differ."""
    soft = _views(labels["view"]) if "view" in labels else RUNS
    if labels.get("mode") == "live":
        soft += ", live"
    elif "views" in labels:
        soft += f", {labels['views']} stored"
    hard = tree.get("views") and _views(tree["views"])
    seen = hard if tree.get("labels") == ["hard"] and hard else soft + (f"; hard: {hard}" if hard else "")
    return seen + ("; none" if "none" in tree.get("augment", []) else "")


def _views(view: Mapping[str, Any]) -> str:
    whole = view.get("min_scale") == 1
    parts = ["whole" if whole else f"crop {view.get('min_scale', 'default')}"]
    parts += ["flip"] if view.get("flip") else []
    parts += ["strips"] if view.get("shuffle", 1) > 1 else []
    parts += ["randaugment"] if view.get("randaugment") else []
    parts += [view["mix"]["use"]] if view.get("mix") else []
    return " ".join([*parts, *(["dsa"] if view.get("dsa") else [])])


def _source(file: Path) -> str:
    """What the head of the file names: the repository with its commit, or the paper; else its first line."""
    head = [line.removeprefix("#").strip() for line in file.read_text().splitlines() if line.startswith("#")]
    words = " ".join(head).split()
    at = next((n for n, word in enumerate(words) if word == "at" and n and "/" in words[n - 1]), None)
    if at is not None:
        return f"{words[at - 1].lstrip('(')} at {words[at + 1].rstrip(').,;')}"
    return head[0].split(".")[0].split(";")[0]
