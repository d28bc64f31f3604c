"""What a run took of its devices: the seconds of its units, times the devices that each had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raydc.report.timings import spans

HELD = ("squeeze", "synthesize", "relabel", "evaluate")
"""Stages whose units hold devices."""


@dataclass(frozen=True)
class Share:
    """The devices that one unit of a stage holds."""

    device: str
    """``GPU`` or ``CPU``."""
    each: float
    """Devices, or a part of one."""


def device_hours(events: Sequence[Mapping[str, Any]], shares: Mapping[str, Share]) -> dict[str, Any]:
    """Return device-hours by stage, work that was lost included; what no worker has told of is in none of them.

    Args:
        events: of the run.
        shares: of each stage, all of one kind of device.

    Returns:
        ``{device, squeeze, synthesize, relabel, evaluate, total}``, hours.
    """
    seconds = dict.fromkeys(HELD, 0.0)
    for span in spans(events):
        if span.worker and span.stage in seconds:
            seconds[span.stage] += max(0.0, span.end - span.start)
    hours = {stage: round(seconds[stage] * shares[stage].each / 3600, 6) for stage in HELD}
    return {"device": shares[HELD[0]].device, **hours, "total": round(sum(hours.values()), 6)}
