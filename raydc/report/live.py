"""What a person sees while a run goes on: a live view on a terminal, plain lines everywhere else.

Both are listeners of :class:`raydc.report.events.EventLog`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from raydc.report.describe import first_line, progress_text, rate_text, trouble, workers_text
from raydc.report.events import ENDS, TICK
from raydc.report.status import Status, summary_text
from raydc.report.units import duration, instant, percent, plural

LINE_EVERY_S = 5.0
"""Least time between two lines of progress."""
SAME_EVERY_S = 60.0
"""Least time between two lines where nothing has happened but time."""


def view_for(console: Console | None = None, errors: bool = False) -> LiveView | PlainView:
    """Return the view that fits where the output goes; with ``errors`` to standard error."""
    console = console or Console(stderr=errors)
    return LiveView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView(console)


class PlainView:
    """One line when a stage starts and ends, and at most one line of progress every five seconds."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._status = Status()
        self._spoke = -math.inf

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, event: dict[str, Any]) -> None:
        """Take in an event and say what is worth a line."""
        self._status.apply(event)
        kind, now = event["kind"], instant(event["t"])
        line = _line(event, self._status)
        if line is None and kind not in ("run_started", *ENDS) and self._status.stage_started:
            wait = SAME_EVERY_S if kind == TICK else LINE_EVERY_S
            if now - self._spoke < wait or not (self._status.done or self._status.text):
                return
            line = f"{self._status.stage}: {progress_text(self._status)}"
        if line is None:
            return
        self._spoke = now
        clock = time.strftime("%H:%M:%S", time.localtime(now))
        self._console.print(Text(f"{clock} {line}"), soft_wrap=True, highlight=False)

    def close(self) -> None:
        """Nothing is held open; here so that both views are used alike."""


class LiveView:
    """Stages with bars, rates, time left, workers and what went wrong, redrawn in place."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.time) -> None:
        self._console = console or Console()
        self._clock = clock
        self._status = Status()
        self._notes: list[str] = []
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(console=self._console, get_renderable=self.render, refresh_per_second=4, transient=False)
        self._open = False

    def __enter__(self) -> LiveView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, event: dict[str, Any]) -> None:
        """Take in an event; the first one opens the view, the last one closes it."""
        self._status.apply(event)
        if event["kind"] == "note":
            self._notes.append(str(event.get("text", "")))
        if event["kind"] in ENDS:
            self.close()
        elif not self._open:
            self._open = True
            self._live.start()

    def close(self) -> None:
        """Draw the last state and give the terminal back."""
        if self._open:
            self._open = False
            self._live.stop()

    def render(self) -> RenderableType:
        """Return the present state as something rich can print."""
        status = self._status
        grid = Table.grid(padding=(0, 2))
        for justify in ("left", "left", "left", "right"):
            grid.add_column(justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for stage, seconds in status.seconds.items():
            if stage != status.stage or not status.stage_started:
                broken = status.state == "failed" and stage == status.stage
                mark = Text("✗", style="red") if broken else Text("✓", style="green")
                summary = Text(status.summaries.get(stage, ""), style="dim", overflow="ellipsis")
                grid.add_row(mark, stage, summary, Text(duration(seconds), style="dim"))
        parts: list[RenderableType] = [self._title(), grid]
        if status.stage_started:
            grid.add_row(self._spinner, Text(status.stage, style="bold"), self._bar(), Text(self._elapsed()))
            parts.append(self._figures())
        parts += [Text(f"  note: {note}", style="dim") for note in self._notes[-3:]]
        if status.last_error:
            style = "red" if status.state == "failed" else "yellow"
            line = f"  last error: {first_line(status.last_error)}"
            parts.append(Text(line, style=style, overflow="ellipsis", no_wrap=True))
        return Group(*parts)

    def _title(self) -> Text:
        title = Text("raydc ", style="dim")
        title.append(self._status.run, style="bold")
        if self._status.output:
            title.append(f"  {self._status.output}", style="dim")
        return title

    def _bar(self) -> RenderableType:
        total = self._status.total
        bar = ProgressBar(total=total or None, completed=self._status.done, width=32, pulse=not total)
        row = Table.grid(padding=(0, 1))
        row.add_row(
            bar,
            f"{self._status.done:,}/{plural(total, self._status.unit)}" if total else "",
            Text(percent(self._status.done / total, 0), style="bold") if total else "",
        )
        return row

    def _elapsed(self) -> str:
        earlier = self._status.seconds.get(self._status.stage, 0.0)
        return duration(earlier + max(0.0, self._clock() - instant(self._status.stage_started)))

    def _figures(self) -> Text:
        status, text = self._status, Text("     ", no_wrap=True, overflow="ellipsis")
        figures = [(rate_text(status), "cyan")]
        if status.eta_s is not None and status.done < status.total:
            figures.append((f"{duration(max(0.0, status.eta_s - status.silent_s(self._clock())))} left", ""))
        figures.append((workers_text(status), ""))
        figures += [(what, "yellow") for what in trouble(status)]
        figures.append((status.text, "dim"))
        return text.append_text(Text("  ·  ", style="dim").join(Text(f, style=s) for f, s in figures if f))


def _line(event: Mapping[str, Any], status: Status) -> str | None:
    """Return the line that an event is worth by itself, or None."""
    kind = event["kind"]
    if kind == "run_started":
        return f"run {status.run} -> {status.output}"
    if kind == "stage_started":
        total = plural(status.total, status.unit) if status.total else ""
        resumed = f", {status.done:,} done before" if status.done else ""
        return f"{status.stage}: started{', ' if total else ''}{total}{resumed}"
    if kind == "stage_done":
        summary = summary_text(event.get("summary"))
        seconds = event.get("seconds")
        took = f" in {duration(float(seconds))}" if seconds is not None else ""
        return f"{event['stage']}: done{took}{': ' if summary else ''}{summary}"
    if kind == "note":
        return f"note: {event.get('text', '')}"
    if kind == "run_done":
        return f"run {status.run}: done"
    if kind == "run_failed":
        return f"run {status.run}: failed: {event.get('error', '')}"
    return None
