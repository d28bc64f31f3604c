"""The result table, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from raydc.report.ranking import scores
from raydc.report.results import Group, groups, verdicts
from raydc.report.units import bytes_text

HEADINGS = (
    "data", "labels", "student", "IPC", "top-1 last, %", "top-1 best, %", "top-5 last, %", "seeds", "label bytes",
)  # fmt: skip
WIDE = 124
"""Columns of a terminal that the whole table needs."""
LEFT_OUT = ("top-5 last, %", "label bytes")
"""What a narrower terminal does without; it is in metrics.json and in the report."""
COLOURS = {"condensed": "bold blue", "random": "yellow", "full": "green"}
FOOTNOTE = "mean ± standard deviation over seeds; best is chosen on the test set, so last is the headline"


def result_table(evaluations: Sequence[Mapping[str, Any]], width: int = WIDE) -> Table:
    """Return the evaluations of metrics.json as a table by student, labels and data; the less where there is less room.

    Raises:
        DataError: an entry is not an evaluation.
    """
    table = Table(title="Students", title_justify="left")
    rows = [_cells(group) for group in groups(evaluations)]
    shown = [i for i, heading in enumerate(HEADINGS) if width >= WIDE or heading not in LEFT_OUT]
    for index in shown:
        # Headings may wrap on a narrow terminal, figures may not.
        widest = max((len(row[index]) for row in rows), default=0)
        table.add_column(HEADINGS[index], justify="left" if index < 3 else "right", min_width=widest)
    before: Group | None = None
    for group in groups(evaluations):
        if before and before.kind != group.kind:
            table.add_section()
        cells = [_cells(group)[i] for i in shown]
        table.add_row(Text(cells[0], style=COLOURS.get(group.data, "")), *(Text(cell) for cell in cells[1:]))
        before = group
    return table


def as_markdown(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Return the same table as GitHub Markdown, verdicts below it; an empty text without evaluations."""
    rows = [_cells(group) for group in groups(evaluations)]
    if not rows:
        return ""
    lines = [HEADINGS, tuple("---" if i < 3 else "---:" for i in range(len(HEADINGS))), *rows]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    verdict = "".join(f"- {_named(line)}\n" for line in _verdict_lines(evaluations))
    ranking = "".join(f"- {score.student}. {score.sentence()}\n" for score in scores(evaluations))
    return f"{table}\n\n{FOOTNOTE[0].upper()}{FOOTNOTE[1:]}.\n" + (f"\n{verdict}{ranking}" if verdict else "")


def _cells(group: Group) -> tuple[str, ...]:
    return (
        group.data,
        group.called,
        group.student,
        "all" if group.data == "full" else str(group.ipc) if group.ipc else "-",
        group.last.text(),
        group.best.text() if group.best else "-",
        group.top5.text() if group.top5 else "-",
        str(group.last.count),
        bytes_text(group.label_bytes) if group.label_bytes else "-",
    )


def _verdict_lines(evaluations: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    found = verdicts(evaluations)
    return [(f"{v.student}, {v.labels} labels: {v.delta()} points", v.sentence()) for v in found]


def _named(line: tuple[str, str]) -> str:
    return f"**{line[0]}.** {line[1]}"


def verdict_text(evaluations: Sequence[Mapping[str, Any]]) -> Text:
    """What stands below the table: how to read it, the verdicts, and the scores of DD-Ranking."""
    lines = [FOOTNOTE] + [f"{name}. {sentence}" for name, sentence in _verdict_lines(evaluations)]
    lines += [f"{score.student}. {score.sentence()}" for score in scores(evaluations)]
    return Text("\n".join(lines))
