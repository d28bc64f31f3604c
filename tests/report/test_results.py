from __future__ import annotations

import io

import pytest
from rich.console import Console

from raydc.errors import DataError
from raydc.report.results import groups, verdicts
from raydc.report.sections import headline
from raydc.report.tables import as_markdown, result_table, verdict_text

from .demo import evaluations


def entry(data, seed, top1, **more):
    return {"data": data, "labels": "soft", "student": "s", "ipc": 1, "seed": seed, "top1_last": top1, **more}


def pairs(condensed, random):
    return [entry("condensed", i, v) for i, v in enumerate(condensed)] + [
        entry("random", i, v) for i, v in enumerate(random)
    ]


@pytest.mark.parametrize(
    ("condensed", "random", "outcome", "words"),
    [
        ((0.60, 0.61, 0.62), (0.50, 0.51, 0.52), "better", "teach more"),
        ((0.50, 0.51, 0.52), (0.60, 0.61, 0.62), "worse", "teach less"),
        ((0.50, 0.56, 0.53), (0.52, 0.52, 0.53), "level", "cannot be told apart"),
        ((0.60,), (0.50,), "one seed", "no evidence"),
    ],
)
def test_the_verdict_says_what_the_seeds_support_and_no_more(condensed, random, outcome, words):
    (verdict,) = verdicts(pairs(condensed, random))
    assert verdict.outcome == outcome and words in verdict.sentence()


def test_differences_are_paired_by_seed_and_unpaired_seeds_are_left_out():
    found = [entry("condensed", 0, 0.2), entry("condensed", 1, 0.9), entry("condensed", 2, 0.7)]
    found += [entry("random", 1, 0.8), entry("random", 0, 0.1)]
    (verdict,) = verdicts(found)
    assert verdict.differences == pytest.approx((0.1, 0.1))
    assert verdict.delta() == "+10.0 ± 0.0"


def test_a_seed_that_was_evaluated_again_counts_once():
    (group,) = groups([entry("condensed", 0, 0.2), entry("condensed", 1, 0.4), entry("condensed", 0, 0.4)])
    assert (group.last.count, group.last.mean, group.last.std) == (2, pytest.approx(0.4), pytest.approx(0.0))


def test_spread_is_the_sample_standard_deviation():
    (group,) = groups([entry("condensed", seed, value) for seed, value in enumerate((0.50, 0.52, 0.54))])
    assert group.last.text() == "52.0 ± 2.0"


def test_the_headline_is_honest_without_a_control_and_when_it_loses():
    assert "cannot say whether condensing helped" in headline([], ["condensed"])
    lost = verdicts(pairs((0.50, 0.51, 0.52), (0.60, 0.61, 0.62)))
    assert "lose in the one comparison made" in headline(lost, ["condensed", "random"])
    assert "win in 2 of 4 and lose in 2" in headline(verdicts(evaluations()), ["condensed", "random"])


def test_terminal_table_holds_all_rows_in_order_with_units():
    out = io.StringIO()
    Console(file=out, width=160).print(result_table(evaluations()), verdict_text(evaluations()))
    text = out.getvalue()
    assert text.index("condensed") < text.index("random") < text.index("full")
    for part in ("top-1 last, %", "±", "3.61 MB", "convnet, soft labels: +", "points"):
        assert part in text


def test_figures_do_not_break_on_a_terminal_of_eighty_columns():
    out = io.StringIO()
    Console(file=out, width=80).print(result_table(evaluations(), 80))
    rows = [line for line in out.getvalue().splitlines() if "condensed │" in line]
    assert len(rows) == 4 and all(line.count("±") == 2 and line.endswith("3 │") for line in rows)


def test_markdown_table_is_rectangular_escapes_bars_and_carries_the_verdict():
    text = as_markdown(
        [
            entry("condensed", 0, 0.5, label_bytes=1234) | {"student": "a|b"},
            entry("random", 0, 0.4) | {"student": "a|b"},
        ]
    )
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and {row.replace("\\|", "").count("|") for row in rows} == {10}
    assert "a\\|b" in text and "1.23 kB" in text and "One seed is no evidence" in text
    assert as_markdown([]) == ""


def test_an_entry_that_is_no_evaluation_is_refused():
    with pytest.raises(DataError, match=r"lacks \['seed'\]"):
        groups([{"data": "condensed", "labels": "soft", "student": "s", "top1_last": 0.5}])
    with pytest.raises(DataError, match="top1_last is 52.0; expected a fraction"):
        groups([entry("condensed", 0, 52.0)])
