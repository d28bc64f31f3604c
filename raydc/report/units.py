"""Numbers as people read them: bytes, durations, rates and shares, each with its unit."""

from __future__ import annotations

import math
from datetime import datetime, timezone


def bytes_text(count: float) -> str:
    """Return a count of bytes with a decimal unit, three significant digits: ``"1.23 MB"``."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while abs(value) >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    digits = 0 if units[0] == "B" or abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{digits}f} {units[0]}"


def duration(seconds: float) -> str:
    """Return seconds in the two largest units that fit: ``"41 ms"``, ``"4 min 05 s"``, ``"1 h 04 min"``."""
    if not math.isfinite(seconds):
        return "unknown"
    if 0.0005 <= seconds < 0.0995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def percent(fraction: float, digits: int = 1) -> str:
    """Return a fraction as ``"52.3 %"``."""
    return f"{100 * fraction:.{digits}f} %"


def number(value: float) -> str:
    """Return a count with thousands separated by commas; three significant digits below 100."""
    if abs(value) >= 100 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.3g}"


def plural(count: int, noun: str) -> str:
    """Return ``"1 block"`` or ``"1,045 blocks"``."""
    return f"{count:,} {noun if count == 1 else many(noun)}"


def many(noun: str) -> str:
    """Return ``"blocks"``."""
    return noun + ("es" if noun.endswith(("s", "ch")) else "s")


def iso(when: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC with milliseconds."""
    text = datetime.fromtimestamp(when, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def instant(text: str) -> float:
    """Return the seconds since 1970 of an ISO 8601 text as :func:`iso` writes it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
