"""A plan as people read it: stage by stage, each number with its unit and with what it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from raydc.plan.item import Item
from raydc.plan.items import Plan
from raydc.plan.measured import Measured
from raydc.report.console import print_mapping
from raydc.report.units import bytes_text, duration, number


def show_plan(plan: Plan, found: Measured | None, as_json: bool) -> None:
    """Print a plan as aligned lines; or as JSON, with all that a calibration has found beside it."""
    if as_json:
        print_mapping({**plan.as_dict(), "calibration": found.as_dict() if found else None}, as_json)
    else:
        print("\n".join(lines(plan.items)))


def lines(found: Sequence[Item]) -> list[str]:
    """The plan as lines, a heading for each stage."""
    labels = max(len(i.label) for i in found)
    values = max(len(text(i)) for i in found)
    printed: list[str] = []
    stage = ""
    for item in found:
        if item.stage != stage:
            stage = item.stage
            printed += [*([""] if printed else []), stage]
        printed.append(f"  {item.label:<{labels}}  {text(item):>{values}}  {item.note}".rstrip())
    return printed


def text(item: Item) -> str:
    """A number with its unit."""
    value = item.value
    if value is None:
        return "-"
    if item.unit == "flop":
        return f"{value:.3g} FLOP"
    if item.unit == "bytes":
        return bytes_text(value)
    if item.unit == "hours":
        return duration(3600 * value)
    if item.unit == "seconds":
        return duration(value)
    if item.unit == "pace":
        return f"{1000 * value:,.3g} ms"
    if item.unit == "rate":
        return f"{number(value)}/s"
    return f"{value:,.2f}" if item.unit == "money" else number(value)
