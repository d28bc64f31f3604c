"""What verbs print at their end: the result of a run, and mappings as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from raydc.report.comparison import Compared, table
from raydc.report.tables import WIDE, result_table, verdict_text
from raydc.report.units import percent
from raydc.store.folder import Folder


def show_result(folder: Folder, dataset: str) -> None:
    """Print the result table, the verifiers' answers, and where the data set and the report are."""
    console = _console()
    entries = folder.read_json("metrics.json")["evaluations"] if folder.exists("metrics.json") else []
    if entries:
        console.print(result_table(entries, console.width), verdict_text(entries), sep="\n", highlight=False)
    if folder.exists("verifiers.json"):
        console.print(_verifiers(folder.read_json("verifiers.json")))
    console.print(f"data set  {dataset}", soft_wrap=True, highlight=False)
    if folder.exists("report/index.html"):
        console.print(f"report    {folder.url}/report/index.html", soft_wrap=True, highlight=False)


def show_metrics(folder: Folder) -> None:
    """Print metrics.json as it is."""
    print_mapping(folder.read_json("metrics.json"), as_json=True)


def show_comparison(runs: Sequence[Compared], output: str) -> None:
    """Print runs side by side, and where their page is."""
    console = _console()
    console.print(table(runs))
    console.print(f"page  {output}/index.html", soft_wrap=True, highlight=False)


def _console() -> Console:
    console = Console()
    if console.is_terminal:
        return console
    return Console(width=max(WIDE, console.width))  # a pipe has no width; rich takes it for 80 columns


def _verifiers(answers: list[Mapping[str, Any]]) -> Table:
    table = Table(title="Pictures that a verifier puts in their class", title_justify="left")
    for heading in ("verifier", "pictures", "at 1", "at 5", "count"):
        table.add_column(heading, justify="left" if heading in ("verifier", "pictures") else "right")
    for a in answers:
        table.add_row(a["verifier"], a["data"], percent(a["top1"]), percent(a["top5"]), str(a["count"]))
    return table


def print_mapping(values: Mapping[str, Any], as_json: bool) -> None:
    """Print a mapping as JSON, or as aligned lines for people; nested mappings are indented."""
    if as_json:
        print(json.dumps(values, indent=1))
        return
    for line in _lines(values, ""):
        print(line)


def _lines(values: Mapping[str, Any], indent: str) -> list[str]:
    width = max((len(str(k)) for k in values), default=0)
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<{width}}  {_text(value)}")
    return lines


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
