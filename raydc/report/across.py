"""One table of all students: data and labels down, networks across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raydc.report.naming import NAMES, Tree, kind
from raydc.report.results import groups


def across(evaluations: Sequence[Mapping[str, Any]]) -> Tree | None:
    """Return top-1 of every network on every kind of data and labels; None with fewer than two networks."""
    found = groups(evaluations)
    students = list(dict.fromkeys(g.student for g in found))
    if len(students) < 2:
        return None
    several = len({g.ipc for g in found}) > 1
    cells = {(g.student, g.kind[1:], g.data): g.last.text() for g in found}
    rows = []
    for kinds, called, data in dict.fromkeys((g.kind[1:], g.called, g.data) for g in found):
        labels = f"IPC {kinds[0]}, {called}" if several else called
        scores = [cells.get((student, kinds, data), "–") for student in students]
        rows.append({"labels": labels, "data": NAMES.get(data, data), "kind": kind(data), "cells": scores})
    return {"students": students, "rows": rows}
