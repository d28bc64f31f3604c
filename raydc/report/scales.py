"""Axes: where a value lies on the page, and which values deserve a tick."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Scale:
    """A map from values ``low..high`` to positions ``start..end``, by value or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Return about ``count`` round values within the scale."""
        if self.log:
            return _log_ticks(self.low, self.high, count)
        step = nice_step((self.high - self.low) / count)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def linear(values: Sequence[float], start: float, end: float, zero: bool = False, count: int = 5) -> Scale:
    """Return a linear scale over values, widened to round numbers; with ``zero`` it begins at 0."""
    low, high = (0.0 if zero else min(values)), max(values)
    if high <= low:
        low, high = (low - 0.5, low + 0.5) if not zero else (0.0, 1.0)
    step = nice_step((high - low) / count)
    return Scale(step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9), start, end)


def logarithmic(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a logarithmic scale over positive values, with a little air at both ends."""
    low, high = min(values), max(values)
    air = max((high / low) ** 0.05, 1.1)
    return Scale(low / air, high * air, start, end, log=True)


def nice_step(rough: float) -> float:
    """Return the smallest of 1, 2, 2.5, 5, 10 times a power of ten that is at least ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))


def tick_text(value: float) -> str:
    """Return the label of a tick: short decimals, powers of ten for the very large and very small."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    if -3 <= exponent <= 4:
        return f"{value:,.0f}" if exponent >= 3 else f"{value:.10g}" if exponent < 0 else f"{value:.6g}"
    mantissa = value / 10.0**exponent
    head = "" if abs(mantissa - 1) < 1e-6 else f"{mantissa:.3g}·"
    return f"{head}10{str(exponent).translate(SUPERSCRIPT)}"


def value_text(value: float) -> str:
    """Return a value with three significant digits, as a power of ten where it is very large or small."""
    if value and not -3 <= math.floor(math.log10(abs(value))) <= 4:
        exponent = math.floor(math.log10(abs(value)))
        return f"{value / 10.0**exponent:.2f}·10{str(exponent).translate(SUPERSCRIPT)}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(found) >= 3:
            return found[:: math.ceil(len(found) / (count + 1))]
    return Scale(low, high, 0, 1).ticks(count - 1)
