"""The DD-Ranking score."""

from __future__ import annotations

import math
from typing import Any

import pytest

from raydc.report.ranking import scores


def entry(data: str, labels: str, top1: float, seed: int = 0, ipc: int = 10, **more: Any) -> dict[str, Any]:
    return {**more, "data": data, "labels": labels, "student": "r", "seed": seed, "ipc": ipc, "top1_last": top1}


def test_a_method_equal_to_random_and_forty_points_below_full_scores_nineteen_percent() -> None:
    entries = [entry("full", "hard", 0.9, ipc=0), entry("condensed", "hard", 0.5),
               entry("condensed", "soft", 0.6), entry("random", "soft", 0.6)]  # fmt: skip
    (score,) = scores(entries)
    assert (score.student, score.ipc) == ("r", 10)
    assert score.plain() == {"student": "r", "ipc": 10, "hlr": pytest.approx(0.4), "ior": 0.0,
                             "lrs": pytest.approx(0.192, abs=5e-4), "ars": None}  # fmt: skip
    assert "hard labels behind full data +40.0 points" in score.sentence()


def test_equal_to_random_and_to_full_is_the_point_that_the_sentence_names() -> None:
    (score,) = scores([entry(d, "hard", 0.7) for d in ("full", "condensed", "random")])
    assert f"{100 * score.lrs:.1f}" == "26.9" and score.sentence().count("26.9 %") == 2


def test_seeds_are_averaged_and_soft_labels_preferred() -> None:
    entries = [entry("full", "hard", 0.8), entry("condensed", "hard", 0.4), entry("random", "hard", 0.1)]
    entries += [entry("condensed", "soft", v, s) for s, v in enumerate((0.6, 0.8))] + [entry("random", "soft", 0.5)]
    (score,) = scores(entries)
    assert score.ior == pytest.approx(0.2)
    alpha = 0.5 * 0.2 - 0.5 * 0.4
    assert score.lrs == pytest.approx((math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1)))


def test_without_controls_there_is_no_score() -> None:
    assert scores([entry("condensed", "soft", 0.6), entry("condensed", "hard", 0.4)]) == []
    assert scores([]) == []


def test_the_augmentation_robust_score_is_of_both_improvements() -> None:
    """beta = (0.1 + 0.3) / 2 = 0.2; a method that is as good as random with and without has 26.9 %."""
    entries = [entry("full", "hard", 0.9), entry("condensed", "hard", 0.5)]
    entries += [entry("condensed", "soft", 0.6), entry("random", "soft", 0.5)]
    assert scores(entries)[0].ars is None
    entries += [entry("condensed", "soft", 0.4, augment="none"), entry("random", "soft", 0.1, augment="none")]
    (score,) = scores(entries)
    assert score.ars == pytest.approx((math.exp(0.2) - math.exp(-1)) / (math.e - math.exp(-1)))
    assert score.ars == pytest.approx(0.3632, abs=1e-4) and score.ior == pytest.approx(0.1)
    assert "augmentation-robust score 36.3 %" in score.sentence()
    level = [e | {"top1_last": 0.5} for e in entries]
    assert f"{100 * scores(level)[0].ars:.1f}" == "26.9"


def test_of_several_label_sets_the_first_is_scored() -> None:
    entries = [entry("full", "hard", 0.9), entry("condensed", "hard", 0.5)]
    for name, gain in (("int8", 0.1), ("top_k", 0.3)):
        entries += [
            entry("condensed", "soft", 0.5 + gain, label_set=name),
            entry("random", "soft", 0.5, label_set=name),
        ]
    assert scores(entries)[0].ior == pytest.approx(0.1)
