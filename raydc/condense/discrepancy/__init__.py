"""Distances between the synthetic and the real distribution: the terms of the synthesis objective.

A term is a function of (config, logits ``[B, K]``, labels ``[B]``, taps) that returns a scalar. To add one: a config
record in ``config/components.py``, a file here, a line in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from raydc.condense.discrepancy.bn_statistics import bn_statistics
from raydc.condense.discrepancy.cross_entropy import cross_entropy
from raydc.condense.taps import Taps

Term = Callable[[Any, torch.Tensor, torch.Tensor, Taps], torch.Tensor]

DISCREPANCIES: dict[str, Term] = {
    "cross_entropy": lambda config, logits, labels, taps: cross_entropy(logits, labels),
    "bn_statistics": lambda config, logits, labels, taps: bn_statistics(taps, config.first_multiplier),
}
