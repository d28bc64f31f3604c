"""How a student's accuracy is spread over the classes: a histogram and the two ends, whatever their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raydc.report.charts import Series, line_panel
from raydc.report.naming import NAMES, Tree, kind
from raydc.report.results import DATA, LABELS, labels_text, rank

ENDS = 5
"""Classes that are named at each end."""
BINS = 10


def summary(hits: Sequence[int] | np.ndarray, images: Sequence[int] | np.ndarray, names: Sequence[str]) -> Tree:
    """Put per-class counts into a few numbers, as small for ten thousand classes as for ten.

    Args:
        hits: test images of each class that were put into it, over all seeds.
        images: test images of each class, over all seeds; classes without any are left out.
        names: of the classes.

    Returns:
        ``classes`` (how many have test images), ``histogram`` (classes by tenths of accuracy), ``worst`` and ``best``
        (name and accuracy, a fraction).
    """
    counted = np.flatnonzero(np.asarray(images) > 0)
    top1 = np.asarray(hits, float)[counted] / np.asarray(images, float)[counted]
    bins = np.minimum((BINS * top1).astype(int), BINS - 1)
    order = np.argsort(top1, kind="stable")
    ends = {"worst": order[:ENDS], "best": order[::-1][:ENDS]}
    named = {key: [[names[int(counted[i])], round(float(top1[i]), 4)] for i in rows] for key, rows in ends.items()}
    return {"classes": len(counted), "histogram": np.bincount(bins, minlength=BINS).tolist(), **named}


def class_section(found: Sequence[Mapping[str, Any]]) -> Tree | None:
    """Return panels of how accuracy is spread over classes, by student and labels, with the ends named.

    Args:
        found: ``by_class`` of metrics.json.
    """
    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    several = len({e.get("label_set") for e in found if e.get("label_set")}) > 1
    shown = sorted(found, key=lambda e: (e["student"], e.get("augment", "protocol") != "protocol",
                                         rank(LABELS, e["labels"]), rank(DATA, e["data"])))  # fmt: skip
    for entry in shown:
        said = labels_text(entry["labels"], entry.get("label_set") or "", entry.get("augment", "protocol"), several)
        panels.setdefault((entry["student"], said), []).append(entry)
    if not panels:
        return None
    present = sorted({e["data"] for e in found}, key=lambda name: rank(DATA, name))
    return {
        "panels": [_panel(student, labels, members) for (student, labels), members in panels.items()],
        "kinds": [(kind(name), NAMES.get(name, name)) for name in present],
        "classes": f"{max(e['classes'] for e in found):,}",
    }


def _panel(student: str, labels: str, members: Sequence[Mapping[str, Any]]) -> Tree:
    middles = [100 * (n + 0.5) / BINS for n in range(BINS)]
    lines = [Series(e["data"], kind(e["data"]), middles, [100 * c / e["classes"] for c in e["histogram"]])
             for e in members]  # fmt: skip
    worst = {e["data"]: e["worst"][0] for e in members if e["worst"]}
    label = f"{student}, {labels} labels: share of classes by accuracy; lowest " + ", ".join(
        f"{data} {100 * top1:.0f} % ({name})" for data, (name, top1) in worst.items()
    )
    main = next((e for e in members if e["data"] == DATA[0]), members[0])
    ends = {key: [(name, f"{100 * top1:.0f}") for name, top1 in main[key]] for key in ("worst", "best")}
    chart = line_panel(lines, label, "accuracy of a class, %", "share of classes, %", y_range=(0.0,))
    return {"student": student, "labels": labels, "chart": chart, "data": NAMES.get(main["data"], main["data"]), **ends}
