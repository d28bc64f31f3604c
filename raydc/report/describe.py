"""A run's status in words: the line of progress, and what ``raydc status`` prints."""

from __future__ import annotations

import time

from raydc.report.driver import gone
from raydc.report.status import NODE_LETTERS, Status
from raydc.report.units import duration, many, number, percent, plural


def progress_text(status: Status, now: float | None = None) -> str:
    """Return the running stage's progress as one line: share, rate, time left, workers, what went wrong so far."""
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
    parts += [workers_text(status), *trouble(status), status.text]
    return ", ".join(part for part in parts if part)


def workers_text(status: Status) -> str:
    """Return how many workers are busy, and on how many machines where there are several; empty where none is."""
    where = f" on {plural(status.nodes, 'node')}" if status.nodes and status.nodes > 1 else ""
    return f"{plural(status.workers, 'worker')}{where}" if status.workers else ""


def trouble(status: Status) -> list[str]:
    """Return what did not go as planned under this driver, each with its count: nothing where all is well."""
    counts = (
        (status.retries, "retry" if status.retries == 1 else "retries"),
        (status.failed, "given up"),
        (status.handed_back, "handed back"),
        (status.copies, "copy" if status.copies == 1 else "copies"),
        (len(status.avoided), "node avoided" if len(status.avoided) == 1 else "nodes avoided"),
    )
    return [f"{count:,} {what}" for count, what in counts if count]


def rate_text(status: Status) -> str:
    """Return the rate in image-steps per second, else in units per minute, with its unit; empty where unknown."""
    if status.image_steps_per_s:
        return f"{number(status.image_steps_per_s)} image-steps/s"
    return f"{number(status.units_per_s * 60)} {many(status.unit)}/min" if status.units_per_s else ""


def describe(status: Status, now: float | None = None) -> list[str]:
    """Return the lines that ``raydc status`` prints; a run that fell silent says when it last was heard of."""
    now = time.time() if now is None else now
    lines = [f"run {status.run or '(unnamed)'}: {status.state}"]
    if status.output:
        lines.append(f"output {status.output}")
    silent, driver = status.silent_s(now), f" from driver {status.driver}" if status.driver else ""
    if status.state == "running" and not status.alive(now):
        ended = gone(status.driver)
        lines[0] = f"run {status.run}: {'its driver is gone' if ended else f'no sign of life for {duration(silent)}'}"
        lines.append(
            f"last sign of life {status.updated}{driver}; it was killed{'' if ended else ' or lost its connection'}. "
            f"Run the same command again: it resumes"
        )
    elif status.updated:
        lines.append(f"last sign of life {status.updated} ({duration(silent)} ago){driver}")
    for stage, seconds in status.seconds.items():
        if stage != status.stage or not status.stage_started:
            summary = status.summaries.get(stage, "")
            lines.append(f"  {stage}: {duration(seconds)}{', ' + summary if summary else ''}")
    if status.stage and status.state == "running" and status.stage_started:
        lines.append(f"  {status.stage}: {progress_text(status, now)}")
    elif trouble(status):
        lines.append(f"on the way: {', '.join(trouble(status))}")
    if status.avoided:
        lines.append(f"nodes avoided: {', '.join(node[:NODE_LETTERS] for node in status.avoided)}")
    if status.last_error:
        lines.append(f"last error: {first_line(status.last_error)}")
    return lines


def first_line(text: str) -> str:
    """Return the first line of an error, which says what happened; the rest is in the diary."""
    return text.strip().splitlines()[0] if text.strip() else ""
