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


def test_what_does_not_go_as_planned_is_counted_in_both_views_and_takes_no_line_of_its_own():
    live = LiveView(Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None), lambda: T0 + 80)
    plain_view, said = plain()
    with live:
        for say in play(lambda event: (live(event), plain_view(event))):
            lines = len(said.getvalue().splitlines())
            say(10, "workers", stage="synthesize", count=8, nodes=3)
            say(10, "unit_handed_back", stage="synthesize", unit="b1", worker="w", seconds=1.0)
            say(10, "unit_copied", stage="synthesize", unit="b2", node="n0")
            say(10, "unit_failed", stage="synthesize", unit="b3", worker="w", seconds=1.0, attempt=3, error="died")
            say(10, "node_avoided", stage="synthesize", node="0123456789abcdef", error="CUDA error")
            assert len(said.getvalue().splitlines()) == lines
            say(80, "tick")
            screen = io.StringIO()
            Console(file=screen, width=200).print(live.render())
    shown, line = screen.getvalue(), said.getvalue().splitlines()[lines]
    for text in ("8 workers on 3 nodes", "1 retry", "1 given up", "1 handed back", "1 copy", "1 node avoided"):
        assert text in shown and text in line
    assert "last error: node 01234567 is avoided: CUDA error" in shown


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
