"""Charts as inline SVG without numbers in colour or font: the page's style sheet decides both, in light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from raydc.report.scales import Scale, linear, logarithmic, tick_text

WIDTH, HEIGHT = 296, 208
TOP, BOTTOM = 10, 38
LETTER = 6.3
"""Width of a digit in the charts' type, a little more than most fonts have."""

LINE = 14
"""Pixels that two labels at the right end must stand apart."""


@dataclass(frozen=True)
class Series:
    """A line with its spread band; ``kind`` is the class that colours it, ``end`` what stands at its right end."""

    name: str
    kind: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    end: str = ""
    marks: Sequence[str] = ()
    """What is said of each point: then points are dots, which say it when they are pointed at, with whiskers."""


def line_panel(
    series: Sequence[Series],
    label: str,
    x_label: str,
    y_label: str,
    log: bool = False,
    y_range: tuple[float, ...] = (),
    x_text: Callable[[float], str] | None = None,
) -> Markup:
    """Return one panel of lines with bands; ``label`` says in words what it shows, for those who cannot see it.

    Args:
        series: lines with at least one finite point in all.
        label: text alternative.
        x_label: name and unit of the horizontal axis.
        y_label: name and unit of the vertical axis.
        log: vertical axis by logarithm; needs positive values.
        y_range: values that the vertical axis must span besides those shown, so that panels can share it.
        x_text: of ticks of the horizontal axis, which then is logarithmic; None: it is linear.
    """
    ys = [v for s in series for v in (*s.y, *s.low, *s.high) if math.isfinite(v)] + list(y_range)
    xs = [v for s in series for v in s.x]
    bottom, top = HEIGHT - BOTTOM, TOP
    y = logarithmic(ys, bottom, top) if log else linear(ys, bottom, top)
    left = 30 + LETTER * max(_width(tick_text(value)) for value in y.ticks())
    right = WIDTH - 10 - LETTER * max(2, max((_width(s.end) for s in series), default=0))
    # An axis that all but begins at zero begins there: the first epoch is the end of the first epoch.
    first = 0.0 if 0 <= min(xs) <= 0.1 * max(xs) else min(xs)
    x = Scale(first, max(xs) if max(xs) > first else first + 1, left, right)
    if x_text is not None:
        x = logarithmic(xs, left, right)
    parts = [_axes(x, y, x_label, y_label, x_text or tick_text)]
    for line in series:
        if len(line.low) and len(line.high) and not line.marks:
            edge = [(x(a), y(b)) for a, b in zip(line.x, line.high, strict=True)]
            edge += [(x(a), y(b)) for a, b in zip(line.x[::-1], line.low[::-1], strict=True)]
            parts.append(Markup('<path class="band c-{}" d="{}Z"/>').format(line.kind, _path(edge)))
    for line in series:
        points = [(x(a), y(b)) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(b)]
        parts.append(Markup('<path class="line c-{}" d="{}"/>').format(line.kind, _path(points)))
        if line.marks:
            parts += _marks(line, x, y)
        elif len(points) == 1:
            dot = Markup('<circle class="dot c-{}" cx="{:.1f}" cy="{:.1f}" r="3"/>')
            parts.append(dot.format(line.kind, *points[0]))
    parts += _ends(series, x, y)
    return _svg(parts, label, WIDTH, HEIGHT)


def _marks(line: Series, x: Scale, y: Scale) -> list[Markup]:
    """The points of a line, each with its whiskers and its words."""
    spread = [(a, b) for a, b in zip(line.low, line.high, strict=True)] or [(v, v) for v in line.y]
    whisker = Markup('<line class="whisker c-{0}" x1="{1:.1f}" x2="{1:.1f}" y1="{2:.1f}" y2="{3:.1f}"/>')
    dot = Markup('<circle class="dot c-{}" cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{}</title></circle>')
    parts = [whisker.format(line.kind, x(a), y(low), y(high)) for a, (low, high) in zip(line.x, spread, strict=True)]
    return parts + [dot.format(line.kind, x(a), y(b), m) for a, b, m in zip(line.x, line.y, line.marks, strict=True)]


def spans(lanes: Sequence[tuple[float, float, str]], label: str, title: str = "") -> Markup:
    """Return a bar of pieces (start, end, kind) given as shares of the width; it stretches to any width.

    Pieces of a kind that touch at the resolution of the page are drawn as one.
    """
    merged: list[tuple[float, float, str]] = []
    for start, end, kind in lanes:
        start, end = min(max(start, 0.0), 1.0), min(max(end, 0.0), 1.0)
        if merged and merged[-1][2] == kind and start - merged[-1][1] < 0.0006:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]), kind)
        else:
            merged.append((start, end, kind))
    rects = [
        Markup('<rect class="c-{}" x="{:.2f}" width="{:.2f}" y="0" height="10"/>').format(
            kind, 1000 * start, max(1000 * (end - start), 1.0)
        )
        for start, end, kind in merged
    ]
    return _track(rects, label, title)


def strip(values: Sequence[float], scale: Scale, kind: str, label: str) -> Markup:
    """Return a stretching track with a thin mark a value and a bold mark at their mean; ``scale`` ends at 0 and 1."""
    places = [1000 * scale(v) for v in values]
    mean = sum(places) / len(places)
    reach = Markup('<line class="reach c-{}" x1="{:.2f}" x2="{:.2f}" y1="5" y2="5"/>')
    marks = [reach.format(kind, min(places), max(places))]
    seed = Markup('<line class="seed c-{0}" x1="{1:.2f}" x2="{1:.2f}" y1="2" y2="8"/>')
    marks += [seed.format(kind, place) for place in places]
    marks.append(Markup('<line class="mean c-{0}" x1="{1:.2f}" x2="{1:.2f}" y1="0" y2="10"/>').format(kind, mean))
    return _track(marks, label)


def _track(parts: Sequence[Markup], label: str, title: str = "") -> Markup:
    tip = Markup("<title>{}</title>").format(title) if title else Markup()
    head = Markup('<svg class="track" viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label="{}">')
    return head.format(label) + tip + Markup("").join(parts) + Markup("</svg>")


def _svg(parts: Sequence[Markup], label: str, width: int, height: int) -> Markup:
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(width, height, label)
    return head + Markup("").join(parts) + Markup("</svg>")


def _axes(x: Scale, y: Scale, x_label: str, y_label: str, x_text: Callable[[float], str]) -> Markup:
    parts = []
    rule = Markup('<line class="grid" x1="{0:.1f}" x2="{1:.1f}" y1="{2:.1f}" y2="{2:.1f}"/>')
    for value in y.ticks():
        parts.append(rule.format(x.start, x.end, y(value)))
        parts.append(_text(x.start - 7, y(value) + 4, tick_text(value), "tick end"))
    for value in x.ticks(4):
        parts.append(_text(x(value), HEIGHT - BOTTOM + 16, x_text(value), "tick middle"))
    parts.append(_text((x.start + x.end) / 2, HEIGHT - 6, x_label, "axis middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    side = Markup('<text class="axis middle" transform="translate(11 {:.1f}) rotate(-90)">{}</text>')
    parts.append(side.format(middle, y_label))
    return Markup("").join(parts)


def _ends(series: Sequence[Series], x: Scale, y: Scale) -> list[Markup]:
    """Labels at the right ends of the lines, pushed apart where they would overlap."""
    named = [s for s in series if s.end and len(s.y) and math.isfinite(s.y[-1])]
    ends = sorted(((y(s.y[-1]), s) for s in named), key=lambda end: end[0])
    places: list[float] = []
    for at, _ in ends:
        places.append(max(at, places[-1] + LINE) if places else at)
    overflow = (places[-1] - (HEIGHT - BOTTOM)) if places else 0.0
    if overflow > 0:
        limit = math.inf
        for index in range(len(places) - 1, -1, -1):
            places[index] = limit = min(places[index], HEIGHT - BOTTOM if limit == math.inf else limit - LINE)
    return [
        _text(x(s.x[-1]) + 6, at + 4, s.end, f"end-label c-{s.kind}") for at, (_, s) in zip(places, ends, strict=True)
    ]


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, escape(text))


def _width(text: str) -> float:
    """Return a label's width in digits; raised ones are narrower."""
    return sum(0.66 if letter in "⁻⁰¹²³⁴⁵⁶⁷⁸⁹" else 0.45 if letter in ".,·" else 1.0 for letter in text)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if i else 'M'}{a:.1f} {b:.1f}" for i, (a, b) in enumerate(points))
