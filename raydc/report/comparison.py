"""Several runs side by side: one table, one plot, one row of pictures a run."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table

from raydc.report.charts import strip
from raydc.report.naming import NAMES, Tree, kind
from raydc.report.page import shown
from raydc.report.pictures import Row, contact_sheet, png
from raydc.report.results import LABELS, Group, Verdict, groups, rank, verdicts
from raydc.report.scales import Scale, linear, tick_text
from raydc.report.template import css, template
from raydc.report.units import bytes_text, duration
from raydc.store.folder import Folder, Receipt


@dataclass(frozen=True)
class Compared:
    """One run of a comparison."""

    name: str
    """Of the run."""
    title: str
    """Of its method."""
    evaluations: Sequence[Mapping[str, Any]]
    """As in metrics.json."""
    protocol: str
    """A digest of all that decides a score beside the images: data, teachers, labels, training of students."""
    seconds: float
    """What workers spent on an image of the product, its share of selecting included."""
    pictures: Sequence[tuple[str, np.ndarray]] = field(default=())
    """Class, and a picture of it, uint8 ``[H, W, 3]``."""

    @property
    def label(self) -> str:
        """What the run is called beside others: its method, or its own name where that has none."""
        return self.title or self.name


@dataclass(frozen=True)
class Line:
    """One run, one student, one kind of labels."""

    run: Compared
    group: Group
    verdict: Verdict | None
    """Against random images under the same protocol, of this run or of another."""
    protocol: str
    """A letter; empty where all runs share one."""


def lines(runs: Sequence[Compared]) -> list[Line]:
    """Every condensed set with its verdict, by student and labels, in the order of the runs."""
    letters, found = _letters(runs), []
    for run in runs:
        mates = [e for other in runs if other.protocol == run.protocol for e in other.evaluations]
        random = [e for e in [*mates, *run.evaluations] if e["data"] == "random"]  # its own counts, where it has some
        mine = [e for e in run.evaluations if e["data"] == "condensed"]
        judged = {v.kind: v for v in verdicts([*mine, *random])}
        for group in groups(mine):
            found.append(Line(run, group, judged.get(group.kind), letters[run.protocol]))
    return sorted(found, key=lambda n: (n.group.student, n.group.ipc, rank(LABELS, n.group.labels)))


def controls(runs: Sequence[Compared]) -> list[Line]:
    """Random and full data, once for each protocol."""
    protocols: dict[str, Compared] = {}
    for run in runs:
        if any(e["data"] != "condensed" for e in run.evaluations):
            protocols.setdefault(run.protocol, run)
    letters = _letters(runs)
    return [
        Line(run, group, None, letters[protocol])
        for protocol, run in protocols.items()
        for group in groups([e for e in run.evaluations if e["data"] != "condensed"])
    ]


def _letters(runs: Sequence[Compared]) -> dict[str, str]:
    protocols = list(dict.fromkeys(run.protocol for run in runs))
    letters = cycle(string.ascii_uppercase if len(protocols) > 1 else [""])
    return dict(zip(protocols, letters, strict=False))


HEADINGS = (
    "method", "student", "labels", "IPC", "top-1 last, %", "against random, points", "seeds", "label bytes",
    "time an image",
)  # fmt: skip


def cells(line: Line) -> tuple[str, ...]:
    """A line of the table."""
    group, made = line.group, line.group.data == "condensed"
    name = line.run.label if made else NAMES[group.data]
    return (
        name + (f" ({line.protocol})" if line.protocol else ""),
        group.student,
        group.called,
        "all" if group.data == "full" else str(group.ipc),
        group.last.text(),
        line.verdict.delta() + {"better": " +", "worse": " -"}.get(line.verdict.outcome, "") if line.verdict else "-",
        str(group.last.count),
        bytes_text(group.label_bytes) if group.label_bytes else "-",
        duration(line.run.seconds) if made else "-",
    )


def ordered(runs: Sequence[Compared]) -> list[Line]:
    """All lines of the table: controls first in each group of student and labels."""
    both = [*controls(runs), *lines(runs)]
    return sorted(both, key=lambda n: (n.group.student, rank(LABELS, n.group.labels)))


def as_markdown(runs: Sequence[Compared]) -> str:
    """The table as GitHub Markdown."""
    rule = ["---" if n < 3 else "---:" for n in range(len(HEADINGS))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [HEADINGS, rule, *map(cells, ordered(runs))]) + "\n"


def table(runs: Sequence[Compared]) -> Table:
    """The table for a terminal."""
    made = Table(title="Methods side by side", title_justify="left")
    for n, heading in enumerate(HEADINGS):
        made.add_column(heading, justify="left" if n < 3 else "right")
    for line in ordered(runs):
        made.add_row(*cells(line))
    return made


def write_comparison(folder: Folder, runs: Sequence[Compared]) -> Receipt:
    """Write ``index.html`` and, where there are pictures, ``images.png``; the receipt of the page."""
    sheet = sheet_of(runs)
    if sheet is not None:
        folder.write("images.png", png(sheet))
    return folder.write("index.html", render(runs).encode())


def sheet_of(runs: Sequence[Compared]) -> Image.Image | None:
    """One row a run, one column a class."""
    rows = [Row(run.label, [picture for _, picture in run.pictures], []) for run in runs if run.pictures]
    return contact_sheet(rows, ("", "")) if rows else None


def render(runs: Sequence[Compared]) -> str:
    """The page as HTML; the same runs give the same text."""
    found = ordered(runs)
    scale = linear([100 * e.top1_last for line in found for e in line.group.runs], 0, 1)
    return template("comparison").render(
        css=css(),
        headings=HEADINGS,
        rows=[{"cells": cells(line), "kind": kind(line.group.data)} for line in found],
        strips=list(_strips(found, scale)),
        ticks=[{"at": f"{100 * scale(t):.2f}", "text": f"{tick_text(t)} %"} for t in scale.ticks()],
        from_zero=scale.low == 0,
        protocols=sorted({line.protocol for line in found if line.protocol}),
        pictures=[_pictures(run) for run in runs if run.pictures],
        names=[run.name for run in runs],
    )


def _strips(found: Sequence[Line], scale: Scale) -> Iterator[Tree]:
    blocks: dict[tuple[str, str], Tree] = {}
    for line in found:
        group = line.group
        block = blocks.setdefault((group.student, group.called),
                                  {"student": group.student, "labels": group.called, "lines": []})  # fmt: skip
        values = [100 * run.top1_last for run in group.runs]
        name = cells(line)[0]
        label = f"{name}: top-1 {group.last.text()} %, seeds " + ", ".join(f"{v:.1f}" for v in values)
        track = strip(values, scale, kind(group.data), label)
        block["lines"].append({"name": name, "text": group.last.text(), "track": track})
    yield from blocks.values()


def _pictures(run: Compared) -> Tree:
    return {
        "name": run.label,
        "shown": [(label, shown(picture, f"{label}, {run.label}")) for label, picture in run.pictures],
    }
