"""A run's status in words: the line of progress, and what ``raydc status`` prints."""

from __future__ import annotations

import time

from raydc.report.status import Status
from raydc.report.units import duration, number, percent, plural


def progress_text(status: Status, now: float | None = None) -> str:
    """Return the running stage's progress as one line: share, rate, time left, workers, retries."""
    parts = []
    if status.total:
        share = percent(status.done / status.total)
        parts.append(f"{number(status.done)} of {plural(status.total, status.unit)} ({share})")
    elif status.done:
        parts.append(plural(status.done, status.unit))
    rate = rate_text(status)
    if rate:
        parts.append(rate)
    if status.eta_s is not None and status.done < status.total:
        parts.append(f"{duration(max(0.0, status.eta_s - (status.silent_s(now) if now else 0)))} left")
    if status.workers:
        parts.append(plural(status.workers, "worker"))
    if status.retries:
        parts.append("1 retry" if status.retries == 1 else f"{status.retries:,} retries")
    if status.text:
        parts.append(status.text)
    return ", ".join(parts)


def rate_text(status: Status) -> str:
    """Return the rate in image-steps per second, else in units per minute, with its unit; empty where unknown."""
    if status.image_steps_per_s:
        return f"{number(status.image_steps_per_s)} image-steps/s"
    return f"{number(status.units_per_s * 60)} {status.unit}s/min" if status.units_per_s else ""


def describe(status: Status, now: float | None = None) -> list[str]:
    """Return the lines that ``raydc status`` prints; a run that fell silent says when it last was heard of."""
    now = time.time() if now is None else now
    lines = [f"run {status.run or '(unnamed)'}: {status.state}"]
    if status.output:
        lines.append(f"output {status.output}")
    silent = status.silent_s(now)
    if status.state == "running" and not status.alive(now):
        lines[0] = f"run {status.run}: no sign of life for {duration(silent)}"
        lines.append(
            f"last sign of life {status.updated}; the driver was killed or lost its connection. "
            f"Run the same command again: it resumes"
        )
    elif status.updated:
        lines.append(f"last sign of life {status.updated} ({duration(silent)} ago)")
    for stage, seconds in status.seconds.items():
        if stage != status.stage or not status.stage_started:
            summary = status.summaries.get(stage, "")
            lines.append(f"  {stage}: {duration(seconds)}{', ' + summary if summary else ''}")
    if status.stage and status.state == "running" and status.stage_started:
        lines.append(f"  {status.stage}: {progress_text(status, now)}")
    if status.last_error:
        lines.append(f"last error: {first_line(status.last_error)}")
    return lines


def first_line(text: str) -> str:
    """Return the first line of an error, which says what happened; the rest is in the diary."""
    return text.strip().splitlines()[0] if text.strip() else ""
