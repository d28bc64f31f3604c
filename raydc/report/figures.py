"""Figures of how the product came about and how students learn: objective terms, verifiers, curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from raydc.report.charts import Series, line_panel, spans
from raydc.report.data import Curve, Term, VerifierScore
from raydc.report.naming import NAMES, Tree, kind
from raydc.report.results import DATA, LABELS, rank
from raydc.report.scales import value_text
from raydc.report.units import percent

VERIFIED = ("noise", "first step", "random", "condensed")


def objective(terms: Mapping[str, Term]) -> list[Tree]:
    """Return a panel a term, on a logarithmic axis where all its values are positive."""
    panels = []
    for name, term in terms.items():
        steps, mean = np.asarray(term.steps, float), np.asarray(term.mean, float)
        band = len(term.low) == len(term.high) == len(steps) > 0
        low, high = (np.asarray(v, float) if band else mean for v in (term.low, term.high))
        good = np.isfinite(steps) & np.isfinite(mean) & np.isfinite(low) & np.isfinite(high)
        if not good.any():
            continue
        x, y, bottom, top = (v[good].tolist() for v in (steps, mean, low, high))
        log = min(bottom) > 0 and min(y) > 0
        line = Series(name, "condensed", x, y, bottom if band else (), top if band else (), value_text(y[-1]))
        label = f"{name}: mean {value_text(y[0])} at step {x[0]:g}, {value_text(y[-1])} at step {x[-1]:g}"
        axis = "value (log scale)" if log else "value"
        panels.append({"name": name, "chart": line_panel([line], label, "step", axis, log=log)})
    return panels


def verifiers(scores: Sequence[VerifierScore]) -> Tree | None:
    """Return a panel a verifier with a bar a kind of picture; None without scores."""
    if not scores:
        return None
    panels: dict[str, list[Tree]] = {}
    for score in sorted(scores, key=lambda s: rank(VERIFIED, s.data)):
        shade = kind(score.data)
        pieces, text = [(0.0, score.top1, shade)], percent(score.top1, 0)
        if score.top5 is not None:
            pieces.append((score.top1, score.top5, f"{shade} faint"))
            text = f"{100 * score.top1:.0f} / {percent(score.top5, 0)}"
        within = f", {percent(score.top5)} within five" if score.top5 is not None else ""
        track = spans(pieces, f"{score.data}: {percent(score.top1)} first{within}")
        count = f"{score.count:,}" if score.count else ""
        line = {"name": score.data, "count": count, "text": text, "track": track}
        panels.setdefault(score.verifier, []).append(line)
    caption = "How often a network that took no part in the synthesis puts a picture in its own class"
    caption += ": solid at first place, pale within five" if any(s.top5 is not None for s in scores) else ""
    caption += ". Small numbers count the pictures." if any(s.count for s in scores) else "."
    return {"panels": [{"name": n, "lines": lines} for n, lines in panels.items()], "caption": caption}


def curves(found: Sequence[Curve]) -> Tree | None:
    """Return panels of test accuracy and of training loss by student and labels; None without curves."""
    panels: dict[tuple[str, str], list[Curve]] = {}
    for curve in sorted(found, key=lambda c: (c.student, rank(LABELS, c.labels), rank(DATA, c.data), c.seed)):
        panels.setdefault((curve.student, curve.labels), []).append(curve)
    tops = [100 * v for c in found for v in c.top1 if v is not None and math.isfinite(v)]
    result: Tree = {"accuracy": [], "loss": []}
    for (student, labels), members in panels.items():
        for what, name in (("top1", "accuracy"), ("loss", "loss")):
            lines, x_label = _lines(members, what)
            if not lines:
                continue
            log = what == "loss" and all(v > 0 for line in lines for v in (*line.y, *line.low))
            y_label = "top-1, %" if what == "top1" else "training loss (log scale)" if log else "training loss"
            label = f"{student}, {labels} labels: " + ", ".join(f"{s.name} ends at {s.y[-1]:.3g}" for s in lines)
            y_range = (0.0, max(tops)) if what == "top1" else ()
            chart = line_panel(lines, label, x_label, y_label, log, y_range)
            result[name].append({"student": student, "labels": labels, "chart": chart})
    present = sorted({c.data for c in found}, key=lambda name: rank(DATA, name))
    result["kinds"] = [(kind(name), NAMES.get(name, name)) for name in present]
    return result if result["accuracy"] else None


def columns(count: int) -> int:
    """Return the number of columns for panels that leaves the last row fullest, of three and four."""
    return 4 if count > 3 and count % 4 in (0, 3) else 3


def _lines(members: Sequence[Curve], what: str) -> tuple[list[Series], str]:
    """Mean and range over seeds for each data set; by share of the training where data sets differ in epochs."""
    ends = {max(c.epochs) for c in members if c.epochs}
    share = len(ends) > 1
    lines = []
    for data in sorted({c.data for c in members}, key=lambda name: rank(DATA, name)):
        at: dict[int, list[float]] = {}
        for curve in (c for c in members if c.data == data):
            for epoch, value in zip(curve.epochs, getattr(curve, what), strict=False):
                if value is not None and math.isfinite(value):
                    at.setdefault(epoch, []).append(100 * value if what == "top1" else value)
        if not at:
            continue
        # Where one seed has gone further than another, its lonely points would look like a jump of the mean.
        most = max(len(values) for values in at.values())
        epochs = [e for e in sorted(at) if len(at[e]) == most]
        x = [100 * e / max(epochs) if share else float(e) for e in epochs]
        y, low, high = ([float(f(at[e])) for e in epochs] for f in (np.mean, np.min, np.max))
        band = most > 1
        end = f"{y[-1]:.1f}" if what == "top1" else value_text(y[-1])
        lines.append(Series(data, kind(data), x, y, low if band else (), high if band else (), end))
    return lines, "share of the training, %" if share else "epoch"
