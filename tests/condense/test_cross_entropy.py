"""Cross-entropy against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from raydc.condense.discrepancy.cross_entropy import CrossEntropyTerm
from raydc.config.axes.discrepancy import CrossEntropy
from tests.condense.nets import TinyResNet, frozen, guided, judged, look_at, order, pixels

TERM = CrossEntropyTerm(CrossEntropy(use="cross_entropy", weight=7.0))  # the loop applies the weight, not the term


def of(logits: torch.Tensor, labels: list[int]) -> torch.Tensor:
    """The term of given logits."""
    look = look_at(TERM, guided(nn.Flatten()), torch.zeros(len(labels), 3, 1, 1), labels)
    return TERM(dataclasses.replace(look, logits=logits))


def test_two_images_by_hand() -> None:
    first = math.log(math.e**2 + 1 + math.e) - 2
    second = math.log(3)
    expected = (first + second) / 2  # the mean over images, 0.753109...
    assert expected == pytest.approx(0.7531092, abs=1e-7)
    got = of(torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), [0, 2])
    assert got.item() == pytest.approx(expected, rel=1e-6)


def test_half_precision_logits_are_judged_in_float32() -> None:
    logits = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16)
    loss = of(logits, [0])
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)
    assert of(logits.double(), [0]).dtype == torch.float64


def test_the_order_of_images_does_not_matter() -> None:
    network, x, labels = frozen(TinyResNet()).double(), pixels(5, 8).double(), [0, 1, 2, 3, 4]
    p = order(5)
    other = judged(TERM, network, x[p], [labels[n] for n in p])
    assert other.item() == pytest.approx(judged(TERM, network, x, labels).item(), rel=1e-12)


def test_gradient_against_finite_differences() -> None:
    network, x = frozen(TinyResNet(width=3)).double(), pixels(2, 5).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: judged(TERM, network, v, [1, 4]), (x,))
