"""Cross-entropy against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from raydc.condense.discrepancy import DISCREPANCIES
from raydc.condense.discrepancy.cross_entropy import cross_entropy
from raydc.condense.taps import Taps
from raydc.config.components import CrossEntropy


def test_two_images_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    labels = torch.tensor([0, 2])
    first = math.log(math.e**2 + 1 + math.e) - 2
    second = math.log(3)
    expected = (first + second) / 2  # the mean over images, 0.753109...
    assert expected == pytest.approx(0.7531092, abs=1e-7)
    assert cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-6)


def test_half_precision_logits_are_judged_in_float32() -> None:
    logits = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16)
    loss = cross_entropy(logits, torch.tensor([0]))
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)
    assert cross_entropy(logits.double(), torch.tensor([0])).dtype == torch.float64


def test_the_component() -> None:
    logits, labels = torch.tensor([[1.0, 3.0]]), torch.tensor([0])
    config = CrossEntropy(use="cross_entropy", weight=7.0)  # the loop applies the weight, not the term
    got = DISCREPANCIES["cross_entropy"](config, logits, labels, Taps([], [], []))
    assert got.item() == pytest.approx(math.log(1 + math.exp(2)), rel=1e-6)
