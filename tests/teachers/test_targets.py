"""Losses against their formulas."""

from __future__ import annotations

import pytest
import torch

from raydc.config.stages.evaluate import KL, Renormalized, Smoothed, Stepped
from raydc.teachers.targets import Hard, Regression, Soft, log_target

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


def test_the_square_of_the_temperature_is_a_factor_where_it_is_asked_for() -> None:
    plain, squared = Soft(TEACHER, 20.0).loss(OUT), Soft(TEACHER, 20.0, squared=True).loss(OUT)
    assert squared.item() == pytest.approx(400 * plain.item(), rel=1e-6)


def test_regression_is_the_mean_square_and_a_share_of_cross_entropy() -> None:
    # Differences 1, -2, -2, -1.5, 2, 1; cross-entropies 0.3490 (class 1) and 0.1226 (class 2).
    square = (1 + 4 + 4 + 2.25 + 4 + 1) / 6
    hard = Hard(torch.tensor([1, 2]))
    assert Regression(TEACHER, hard, 0.0).loss(OUT) == pytest.approx(square)
    assert Regression(TEACHER, hard, 0.1).loss(OUT) == pytest.approx(square + 0.1 * (0.3490 + 0.1226) / 2, abs=1e-4)
    assert Regression(OUT, hard, 0.025).loss(OUT) == pytest.approx(0.025 * hard.loss(OUT).item())


@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_gradients_are_those_of_the_formula(gamma: float) -> None:
    out, teacher = OUT.double().requires_grad_(), TEACHER.double()
    mixed = Hard(torch.tensor([1, 2]), 0.0, torch.tensor([0, 0]), torch.tensor([0.25, 1.0], dtype=torch.float64))
    for target in (Soft(teacher, 4.0, squared=True), Regression(teacher, mixed, gamma)):
        assert torch.autograd.gradcheck(target.loss, (out,))


@pytest.mark.parametrize("target", [Soft(TEACHER, 4.0), Regression(TEACHER, Hard(torch.tensor([1, 2])), 0.1)])
def test_bf16_answers_give_nearly_the_same_loss(target: Soft | Regression) -> None:
    halved = target.loss(OUT.bfloat16().float()), target.loss(OUT)
    assert halved[0].item() == pytest.approx(halved[1].item(), rel=1e-2)


# ---- what is made of a row ----------------------------------------------------------------------------------------
def test_smoothed_keeps_the_likeliest_and_spreads_the_rest_evenly() -> None:
    z = torch.tensor([[3.0, 1.0, 0.0, 2.0, -1.0]])
    p = z.softmax(1)[0]
    target = log_target(z, Smoothed(use="smoothed", k=2)).exp()[0]
    assert torch.allclose(target[[0, 3]], p[[0, 3]])
    assert torch.allclose(target[[1, 2, 4]], p[[1, 2, 4]].mean().expand(3))


def test_renormalized_is_the_softmax_of_the_largest_alone() -> None:
    z = torch.tensor([[3.0, 1.0, 0.0, 2.0, -1.0]])
    target = log_target(z, Renormalized(use="renormalized", k=2)).exp()[0]
    assert torch.allclose(target[[0, 3]], torch.tensor([3.0, 2.0]).softmax(0)) and target[[1, 2, 4]].sum() == 0


@pytest.mark.parametrize("rule", [Smoothed(use="smoothed", k=3), Renormalized(use="renormalized", k=7)])
def test_all_classes_are_the_row_itself(rule: Smoothed | Renormalized) -> None:
    assert torch.equal(log_target(TEACHER, rule), TEACHER.log_softmax(1))


def test_losses_of_all_rules_have_gradients_of_their_formula_and_no_nan() -> None:
    out, teacher = OUT.double().requires_grad_(), TEACHER.double()
    for rule in (Smoothed(use="smoothed", k=1), Renormalized(use="renormalized", k=1)):
        target = Soft(teacher, 4.0, student=1.5, rule=rule)
        assert torch.autograd.gradcheck(target.loss, (out,))
    alone = Soft(teacher, 4.0, student=1.0, rule=Renormalized(use="renormalized", k=1)).loss(out)
    assert alone.item() == pytest.approx(Hard(teacher.argmax(1)).loss(out).item())


def test_student_and_teacher_may_have_temperatures_of_their_own() -> None:
    p, q = (TEACHER / 8).softmax(1), OUT.softmax(1)
    expected = (p * (p / q).log()).sum(1).mean()
    assert Soft(TEACHER, 8.0, student=1.0).loss(OUT) == pytest.approx(expected.item(), rel=1e-5)


def test_a_stepped_temperature_falls_to_its_floor() -> None:
    """LPQLD ``train_FKD_LPQLD.py``: 20 * 0.7 ** (epoch // 30), never under 2; the student stays at 1."""
    loss = KL(temperature=Stepped(start=20), student=1.0)
    assert [loss.temperatures(e)[0] for e in (0, 29, 30, 60)] == pytest.approx([20, 20, 14, 9.8])
    assert loss.temperatures(299) == (2.0, 1.0)
    assert KL(temperature=4.0).temperatures(7) == (4.0, 4.0)
