"""Losses against their formulas."""

from __future__ import annotations

import pytest
import torch

from raydc.teachers.targets import Hard, Soft

OUT = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])
TEACHER = torch.tensor([[0.0, 4.0, 1.0], [2.0, -2.0, 2.0]])


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_soft_is_the_divergence_of_tempered_answers_without_t_squared(temperature: float) -> None:
    p, q = (TEACHER / temperature).softmax(1), (OUT / temperature).softmax(1)
    expected = (p * (p / q).log()).sum(1).mean()
    assert Soft(TEACHER, temperature).loss(OUT) == pytest.approx(expected.item(), rel=1e-4)
    assert Soft(OUT, temperature).loss(OUT) == pytest.approx(0.0, abs=1e-7)


def test_hard_is_cross_entropy_with_smoothing() -> None:
    log = OUT.log_softmax(1)
    labels = torch.tensor([1, 2])
    plain = -log[[0, 1], labels].mean()
    assert Hard(labels).loss(OUT) == pytest.approx(plain.item())
    smooth = (0.8 * -log[[0, 1], labels] + 0.2 * -log.mean(1)).mean()
    assert Hard(labels, smoothing=0.2).loss(OUT) == pytest.approx(smooth.item())


def test_a_mixed_view_counts_for_both_classes_by_area() -> None:
    log = OUT.log_softmax(1)
    target = Hard(torch.tensor([1, 2]), 0.0, torch.tensor([0, 0]), torch.tensor([0.25, 1.0]))
    expected = (-(0.25 * log[0, 1] + 0.75 * log[0, 0]) - log[1, 2]) / 2
    assert target.loss(OUT) == pytest.approx(expected.item())
