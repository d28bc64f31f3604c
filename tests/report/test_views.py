from __future__ import annotations

import io

from rich.console import Console

from raydc.report.live import LiveView, PlainView, view_for
from raydc.report.units import iso

T0 = 1_795_000_000.0


def play(view, gap=1.0, blocks=12):
    def say(at, kind, **fields):
        view({"t": iso(T0 + at), "kind": kind, **fields})

    say(0, "run_started", run="toy [bold]", output="/runs/toy", versions={})
    say(0, "stage_started", stage="synthesize", total=blocks, done=2, unit="block")
    say(0, "workers", stage="synthesize", count=2)
    for index in range(blocks - 2):
        say(
            (index + 1) * gap,
            "unit_done",
            stage="synthesize",
            unit=f"b{index}",
            seconds=gap,
            worker="w",
            image_steps=100,
        )
    say(5 * gap, "unit_retried", stage="synthesize", unit="b9", attempt=1, error="worker died")
    yield say
    say(blocks * gap, "stage_done", stage="synthesize", seconds=blocks * gap, summary="100 images")
    say(blocks * gap, "run_done")


def run(view, **kw):
    for _ in play(view, **kw):
        pass


def plain(width=200):
    out = io.StringIO()
    return PlainView(Console(file=out, width=width)), out


def test_plain_lines_at_stage_start_and_end_and_progress_at_most_every_five_seconds():
    view, out = plain()
    run(view)
    lines = out.getvalue().splitlines()
    assert "synthesize: started, 12 blocks, 2 done before" in lines[1]
    progress = [line for line in lines if " of 12 blocks" in line]
    assert len(progress) == 2
    assert "100 image-steps/s" in progress[0] and "left" in progress[0] and "2 workers" in progress[0]
    assert lines[-2].endswith("synthesize: done in 12 s: 100 images")
    assert lines[-1].endswith("run toy [bold]: done")


def test_plain_lines_stay_one_line_each_and_print_markup_as_it_is():
    view, out = plain(width=30)
    run(view)
    assert all(line[2] == ":" for line in out.getvalue().splitlines())
    assert "toy [bold]" in out.getvalue()


def test_plain_view_tells_notes_and_failures():
    view, out = plain()
    view({"t": iso(T0), "kind": "run_started", "run": "toy", "output": "o"})
    view({"t": iso(T0), "kind": "note", "text": "node 3 left"})
    view({"t": iso(T0), "kind": "run_failed", "error": "no machine", "code": 4})
    assert "note: node 3 left" in out.getvalue() and "failed: no machine" in out.getvalue()


def test_live_view_shows_stage_bar_rate_workers_retries_and_error():
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, color_system=None, legacy_windows=False)
    view = LiveView(console, clock=lambda: T0 + 10)
    with view:
        for _ in play(view):
            screen = io.StringIO()
            Console(file=screen, width=120).print(view.render())
    text = screen.getvalue()
    for part in (
        "toy [bold]",
        "synthesize",
        "12/12 blocks",
        "100 %",
        "image-steps/s",
        "2 workers",
        "1 retry",
        "worker died",
    ):
        assert part in text
    assert "✓" in out.getvalue() and "100 images" in out.getvalue()


def test_live_view_gives_the_terminal_back_when_the_driver_fails():
    out = io.StringIO()
    view = LiveView(Console(file=out, width=80, force_terminal=True, color_system=None))
    view({"t": iso(T0), "kind": "run_started", "run": "toy", "output": "o"})
    view.close()
    view.close()
    assert "\x1b[?25h" in out.getvalue()


def test_the_view_fits_where_the_output_goes():
    assert isinstance(view_for(Console(file=io.StringIO())), PlainView)
    assert isinstance(view_for(Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})), LiveView)
