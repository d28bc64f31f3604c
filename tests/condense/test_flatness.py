"""Flatness: the divergence by hand, the running average of the pixels, and where the gradient goes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raydc.condense.discrepancy import Look
from raydc.condense.discrepancy.flatness import FlatnessTerm
from raydc.config.axes.discrepancy import Flatness
from tests.condense.nets import LOOK, TinyResNet, frozen, guided, judged, look_at, order, pixels

NETWORK = frozen(TinyResNet()).double()
FIRST, SECOND = pixels(3, 8, "first").double(), pixels(3, 8, "second").double()


def made(**settings: Any) -> FlatnessTerm:
    return FlatnessTerm(Flatness.model_validate({"use": "flatness", **settings}))


def divergence(z: np.ndarray, other: np.ndarray, temperature: float) -> float:
    """KL(softmax(z / t) || softmax(other / t)), mean over images."""
    p, q = (np.exp(a / temperature) / np.exp(a / temperature).sum(axis=1, keepdims=True) for a in (z, other))
    return float((p * np.log(p / q)).sum(axis=1).mean())


def logits(x: torch.Tensor) -> np.ndarray:
    return NETWORK(x).detach().numpy()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_divergence_from_the_answer_to_the_average(temperature: float) -> None:
    term = made(decay=0.9, temperature=temperature)
    assert judged(term, NETWORK, FIRST, key=LOOK.child(0)).item() == 0.0  # the average begins at the first pixels
    got = judged(term, NETWORK, SECOND, key=LOOK.child(1))
    expected = divergence(logits(SECOND), logits(0.9 * FIRST + 0.1 * SECOND), temperature)
    assert expected > 1e-4 and got.item() == pytest.approx(expected, rel=1e-9)


def test_the_average_over_steps() -> None:
    term, kept = made(decay=0.8), None
    for t in range(5):
        x = pixels(3, 8, f"x{t}").double()
        kept = x.numpy() if kept is None else 0.8 * kept + 0.2 * x.numpy()
        judged(term, NETWORK, x, key=LOOK.child(t))
        np.testing.assert_allclose(term.state()["kept"], kept, rtol=1e-12, atol=1e-14)


def test_a_step_is_averaged_once_however_many_teachers_look() -> None:
    term = made(decay=0.5)
    judged(term, NETWORK, FIRST, key=LOOK.child(0))
    for place in range(3):
        judged(term, NETWORK, SECOND, key=LOOK.child(1), place=place)
    np.testing.assert_allclose(term.state()["kept"], 0.5 * FIRST + 0.5 * SECOND, rtol=1e-12)


def test_images_of_a_later_round_begin_with_their_own_first_pixels() -> None:
    term, rows = made(decay=0.5), torch.tensor([0, 2])
    judged(term, NETWORK, FIRST[rows], key=LOOK.child(0), rows=rows)
    judged(term, NETWORK, SECOND, key=LOOK.child(1))
    expected = SECOND.clone()
    expected[rows] = 0.5 * FIRST[rows] + 0.5 * SECOND[rows]
    np.testing.assert_allclose(term.state()["kept"], expected, rtol=1e-12)


def test_both_answers_are_through_the_same_augmentations() -> None:
    term = made(decay=0.9)
    judged(term, NETWORK, FIRST, key=LOOK.child(0))
    got = judged(term, NETWORK, SECOND, key=LOOK.child(1), seen=lambda v: v.flip(2) * 2)
    views = (2 * v.flip(2) for v in (SECOND, 0.9 * FIRST + 0.1 * SECOND))
    assert got.item() == pytest.approx(divergence(*map(logits, views), 4.0), rel=1e-9)


# ---- gradient ---------------------------------------------------------------------------------------------------
def second_look(x: torch.Tensor, term: FlatnessTerm) -> Look:
    judged(term, NETWORK, FIRST, key=LOOK.child(0))
    return look_at(term, guided(NETWORK), x, key=LOOK.child(1))


def test_gradient_against_the_formula() -> None:
    """dKL/dz = p (log p - log q - KL) / (t B), carried back through the answer to the pictures alone."""
    x, term = SECOND.clone().requires_grad_(True), made(decay=0.9)
    term(second_look(x, term)).backward()
    z, other = torch.from_numpy(logits(SECOND)) / 4.0, torch.from_numpy(logits(0.9 * FIRST + 0.1 * SECOND)) / 4.0
    p, apart = z.softmax(1), z.log_softmax(1) - other.log_softmax(1)
    at_logits = p * (apart - (p * apart).sum(1, keepdim=True)) / (4.0 * 3)
    again = SECOND.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(NETWORK(again), again, at_logits)
    np.testing.assert_allclose(x.grad, expected, rtol=1e-8, atol=1e-14)


def test_gradient_against_finite_differences() -> None:
    """With the answer to the average held fast, as the formula has it."""
    term = made(decay=0.9)
    look, fixed = second_look(SECOND, term), torch.from_numpy(logits(FIRST))
    z = torch.from_numpy(logits(SECOND)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: term(dataclasses.replace(look, logits=v, answer=lambda _: fixed)), (z,))


def test_the_second_look_needs_no_gradient() -> None:
    term, answers = made(), []
    look = second_look(SECOND.clone().requires_grad_(True), term)

    def answer(x: torch.Tensor) -> torch.Tensor:
        answers.append(x)
        return NETWORK(x)

    term(dataclasses.replace(look, answer=answer))
    assert len(answers) == 1 and not answers[0].requires_grad


# ---- state, order, precision ------------------------------------------------------------------------------------
def test_going_on_from_a_state_is_bit_for_bit() -> None:
    whole, first, again = made(decay=0.7), made(decay=0.7), made(decay=0.7)
    rows = torch.tensor([1, 2])
    for term in (whole, first):
        judged(term, NETWORK, FIRST[rows], key=LOOK.child(0), rows=rows)
    state = first.state()
    judged(first, NETWORK, 9 * FIRST, key=LOOK.child(1))  # a state is a copy
    again.restore(state, torch.device("cpu"))
    one, other = (judged(term, NETWORK, SECOND, key=LOOK.child(1)) for term in (whole, again))
    assert one.item() == other.item() and torch.equal(whole.state()["kept"], again.state()["kept"])
    assert made().state() == {}
    made().restore({}, torch.device("cpu"))


def test_the_order_of_images_does_not_matter() -> None:
    p, values = order(3), []
    for rows in (torch.arange(3), p):
        term = made()
        judged(term, NETWORK, FIRST[rows], key=LOOK.child(0))
        values.append(judged(term, NETWORK, SECOND[rows], key=LOOK.child(1)).item())
    assert values[1] == pytest.approx(values[0], rel=1e-9)


def test_half_precision_logits_are_judged_in_float32() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    frozen(net)
    single, half = made(temperature=1.0), made(temperature=1.0)
    for t, x in enumerate((FIRST.float(), SECOND.float())):
        value = judged(single, net, x, key=LOOK.child(t))
    net.to(torch.bfloat16)
    for t, x in enumerate((FIRST.to(torch.bfloat16), SECOND.to(torch.bfloat16))):
        other = judged(half, net, x, key=LOOK.child(t))
    assert other.dtype == torch.float32 and other.item() == pytest.approx(value.item(), rel=0.05)
