"""Golden values of the learning rate's cosine and of CDA's curriculum (method specification, sections 1.2, 1.3)."""

from __future__ import annotations

import pytest

from raydc.condense.schedule import anneal, cosine
from raydc.config.base import Anneal

TENTHS = [0, 100, 250, 500, 750, 900]


def cda(**settings: object) -> Anneal:
    return Anneal.model_validate({"from": 1.0, "to": 0.08, **settings})


def test_cosine() -> None:
    values = [cosine(t, 1_000) for t in TENTHS]
    assert values == pytest.approx([1.0, 0.975528, 0.853553, 0.5, 0.146447, 0.024472], abs=1e-6)
    assert 0 < cosine(3_999, 4_000) < 1e-6
    assert cosine(0, 1) == 1.0


def test_cda_curriculum() -> None:
    values = [anneal(cda(), t, 1_000) for t in TENTHS]
    assert values == pytest.approx([1.0, 0.977, 0.865, 0.54, 0.215, 0.103], abs=6e-4)


def test_linear() -> None:
    values = [anneal(cda(shape="linear"), t, 1_000) for t in TENTHS]
    assert values == pytest.approx([1.0, 0.908, 0.77, 0.54, 0.31, 0.172])


def test_step() -> None:
    values = [anneal(cda(shape="step", milestone=0.5), t, 1_000) for t in TENTHS]
    assert values == [1.0, 1.0, 1.0, 0.08, 0.08, 0.08]
    assert anneal(cda(shape="step"), 999, 1_000) == 1.0


@pytest.mark.parametrize("shape", ["cosine", "linear", "step"])
def test_after_the_milestone_the_end_is_kept(shape: str) -> None:
    value = cda(shape=shape, milestone=0.5)
    assert [anneal(value, t, 1_000) for t in (500, 501, 999)] == [0.08] * 3
    assert anneal(value, 0, 1_000) == 1.0
    assert anneal(value, 499, 1_000) > 0.08


def test_the_milestone_stretches_the_shape() -> None:
    half = [anneal(cda(milestone=0.5), t, 1_000) for t in (0, 50, 125, 250, 375, 450)]
    assert half == pytest.approx([anneal(cda(), t, 1_000) for t in TENTHS])


def test_a_constant_stays() -> None:
    assert {anneal(0.3, t, 10) for t in range(10)} == {0.3}


def test_the_other_way_round() -> None:
    rising = cda(**{"from": 0.1, "to": 0.9, "shape": "linear"})
    assert [anneal(rising, t, 4) for t in range(4)] == pytest.approx([0.1, 0.3, 0.5, 0.7])
