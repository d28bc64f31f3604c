"""Entries of metrics.json and the DD-Ranking score."""

from __future__ import annotations

import math

import pytest

from raydc.students.metrics import dd_ranking, evaluation


def entry(data: str, labels: str, top1: float, seed: int = 0, ipc: int = 10) -> dict:
    result = {"top1_last": top1, "top1_best": top1, "top5_last": 1.0, "epochs": 3, "steps": 9}
    return evaluation(data=data, labels=labels, student="r", seed=seed, ipc=ipc, result=result, wall_s=1.23456,
                      label_bytes=7)  # fmt: skip


def test_an_entry_has_the_keys_of_metrics_json() -> None:
    found = entry("random", "hard", 0.5)
    assert found == {"data": "random", "labels": "hard", "student": "r", "ipc": 10, "seed": 0, "top1_last": 0.5,
                     "top1_best": 0.5, "top5_last": 1.0, "epochs": 3, "steps": 9, "wall_s": 1.235,
                     "label_bytes": 7}  # fmt: skip


def test_a_method_equal_to_random_and_forty_points_below_full_scores_nineteen_percent() -> None:
    entries = [entry("full", "hard", 0.9, ipc=0), entry("condensed", "hard", 0.5),
               entry("condensed", "soft", 0.6), entry("random", "soft", 0.6)]  # fmt: skip
    (score,) = dd_ranking(entries)
    assert (score["student"], score["ipc"]) == ("r", 10)
    assert score["hlr"] == pytest.approx(0.4)
    assert score["ior"] == pytest.approx(0.0)
    assert score["lrs"] == pytest.approx(0.192, abs=5e-4)


def test_seeds_are_averaged_and_soft_labels_preferred() -> None:
    entries = [entry("full", "hard", 0.8), entry("condensed", "hard", 0.4), entry("random", "hard", 0.1)]
    entries += [entry("condensed", "soft", v, s) for s, v in enumerate((0.6, 0.8))] + [entry("random", "soft", 0.5)]
    (score,) = dd_ranking(entries)
    assert score["ior"] == pytest.approx(0.2)
    alpha = 0.5 * 0.2 - 0.5 * 0.4
    assert score["lrs"] == pytest.approx((math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1)))


def test_without_controls_there_is_no_score() -> None:
    assert dd_ranking([entry("condensed", "soft", 0.6), entry("condensed", "hard", 0.4)]) == []
    assert dd_ranking([]) == []
