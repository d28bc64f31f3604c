"""Runs side by side: which lines may be compared, what the table says, and a page that stands alone."""

from __future__ import annotations

import numpy as np
import pytest

from raydc.report.comparison import Compared, as_markdown, lines, ordered, render, write_comparison
from raydc.store.folder import Folder


def entries(data: str, scores: list[float], labels: str = "soft") -> list[dict[str, object]]:
    return [
        {"data": data, "labels": labels, "student": "convnet", "seed": n, "ipc": 10, "top1_last": score,
         "top1_best": score, "label_bytes": 2_000}
        for n, score in enumerate(scores)
    ]  # fmt: skip


def compared(name: str, scores: list[float], protocol: str = "p", random: list[float] | None = None) -> Compared:
    picture = np.full((8, 8, 3), 9, np.uint8)
    found = entries("condensed", scores) + (entries("random", random) if random else [])
    return Compared(name, name.upper(), found, protocol, 0.25, [("zero", picture), ("one", picture)])


def test_the_random_control_of_one_run_serves_all_under_its_protocol() -> None:
    runs = [compared("a", [0.5, 0.6, 0.7], random=[0.4, 0.5, 0.6]), compared("b", [0.3, 0.4, 0.5])]
    deltas = [line.verdict.spread.mean for line in lines(runs) if line.verdict]
    assert deltas == pytest.approx([0.1, -0.1])
    assert [line.protocol for line in ordered(runs)] == ["", "", ""]  # random, a, b


def test_another_protocol_is_told_by_a_letter_and_has_no_control_of_its_neighbours() -> None:
    runs = [compared("a", [0.5, 0.6], random=[0.4, 0.5]), compared("b", [0.3, 0.4], protocol="q")]
    by_name = {line.run.name: line for line in lines(runs)}
    assert by_name["b"].verdict is None and (by_name["a"].protocol, by_name["b"].protocol) == ("A", "B")
    assert "letters tell which lines may be compared" in render(runs)


def test_a_run_is_held_against_its_own_control_where_it_has_one() -> None:
    runs = [compared("a", [0.5, 0.6], random=[0.4, 0.5]), compared("b", [0.5, 0.6], random=[0.5, 0.6])]
    by_name = {line.run.name: line for line in lines(runs)}
    assert by_name["b"].verdict is not None and by_name["b"].verdict.spread.mean == pytest.approx(0.0)


def test_the_table_gives_every_number() -> None:
    text = as_markdown([compared("a", [0.5, 0.6, 0.7], random=[0.4, 0.5, 0.6])])
    random, condensed = text.splitlines()[2:]
    assert random.startswith("| random real | convnet | soft | 10 | 50.0 ± 10.0 | - | 3 | 2.00 kB | - |")
    assert condensed.startswith("| A | convnet | soft | 10 | 60.0 ± 10.0 | +10.0 ± 0.0 + | 3 | 2.00 kB | 0.2 s |")


def test_the_page_stands_alone_and_is_the_same_twice(tmp_path) -> None:  # type: ignore[no-untyped-def]
    runs = [compared("a", [0.5, 0.6], random=[0.4, 0.5]), compared("b<script>", [0.3, 0.4])]
    write_comparison(Folder(tmp_path), runs)
    page = (tmp_path / "index.html").read_text()
    assert page == render(runs) and "<script" not in page and "http" not in page.split("</style>")[1]
    assert (tmp_path / "images.png").stat().st_size > 100


def test_the_page_says_where_its_axis_does_not_begin_at_zero() -> None:
    said = "The axis does not begin at zero"
    assert said in render([compared("a", [0.5, 0.6], random=[0.4, 0.5])])
    assert said not in render([compared("a", [0.0, 0.1], random=[0.9, 1.0])])
