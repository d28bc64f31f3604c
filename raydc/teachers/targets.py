"""What a network is held against in one step: a teacher's logits, or hard labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F

from raydc.config.stages.evaluate import Dense, Renormalized, Rule

DENSE = Dense()


class Target(Protocol):
    """Anything with a mean loss over a batch."""

    def loss(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits ``[B, classes]``, a scalar."""


def log_target(logits: torch.Tensor, rule: Rule) -> torch.Tensor:
    """The logarithm of a target distribution from logits over the temperature, float ``[B, classes]``.

    dense         softmax of the row
    smoothed      the k likeliest as they are, the rest of the mass spread evenly: FKD
                  ``FKD_SLG/generate_soft_label.py`` ("marginal smoothing")
    renormalized  softmax of the k largest logits, nothing elsewhere: LPQLD ``train_FKD_LPQLD.py`` ("MR-k")

    Equal logits at the border are all taken or left as the sort has them, the lower class first.
    """
    dense = F.log_softmax(logits, dim=1)
    if isinstance(rule, Dense) or rule.k >= logits.shape[1]:
        return dense
    kept, classes = dense.sort(dim=1, descending=True, stable=True)
    kept, classes = kept[:, : rule.k], classes[:, : rule.k]
    if isinstance(rule, Renormalized):
        return torch.full_like(dense, -torch.inf).scatter(1, classes, F.log_softmax(kept, dim=1))
    rest = dense.scatter(1, classes, torch.full_like(kept, -torch.inf)).logsumexp(dim=1, keepdim=True)
    even = (rest - math.log(logits.shape[1] - rule.k)).expand_as(dense)
    return even.scatter(1, classes, kept)


@dataclass(frozen=True)
class Soft:
    """KL(target(teacher / T) || softmax(student / S)), mean over the batch, times T^2 only if asked for.

    SRe2L ``validate/train_FKD.py`` and RDED leave the factor out; zeyuanyin/tiny-imagenet ``train_kd.py`` has it. With
    AdamW it changes next to nothing, with SGD it multiplies the learning rate by T^2. S is T but in LPQLD, whose
    scripts keep it at 1 while T falls.
    """

    logits: torch.Tensor
    """float ``[B, classes]``, before the temperature."""
    temperature: float
    squared: bool = False
    student: float | None = None
    """The student's temperature; None: the teacher's."""
    rule: Rule = DENSE

    def loss(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the divergence as a scalar."""
        student = F.log_softmax(outputs / (self.student or self.temperature), dim=1)
        teacher = log_target(self.logits / self.temperature, self.rule)
        divergence = _divergence(teacher, student)
        return divergence * self.temperature**2 if self.squared else divergence


def _divergence(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Mean KL divergence of logarithms ``[B, classes]``; where the teacher has nothing there is nothing to add."""
    return (torch.where(teacher.isinf(), 0.0, teacher.exp() * (teacher - student))).sum(dim=1).mean()


@dataclass(frozen=True)
class Hard:
    """Cross-entropy with the class; of a mixed view, with both by their shares (Yun et al. 2019, Zhang et al. 2018)."""

    labels: torch.Tensor
    """int64 ``[B]``."""
    smoothing: float = 0.0
    partners: torch.Tensor | None = None
    """int64 ``[B]``: the class of the image mixed in."""
    kept: torch.Tensor | None = None
    """float32 ``[B]``: the share of the view that is the image itself."""

    def loss(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy as a scalar."""
        own = F.cross_entropy(outputs, self.labels, label_smoothing=self.smoothing, reduction="none")
        if self.partners is None or self.kept is None:
            return own.mean()
        other = F.cross_entropy(outputs, self.partners, label_smoothing=self.smoothing, reduction="none")
        return (self.kept * own + (1.0 - self.kept) * other).mean()


@dataclass(frozen=True)
class Regression:
    """The mean squared difference of logits over batch and classes, plus gamma times the cross-entropy of a class.

    G-VBSM and EDC ``train/train_FKD_parallel.py`` ("MSE + gamma CE"): no temperature; gamma 0.1 and 0.025 on
    ImageNet-1k. There the class of a mixed view is that of the image itself, whatever share of it is left.
    """

    logits: torch.Tensor
    """float ``[B, classes]``."""
    hard: Hard
    gamma: float

    def loss(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return both parts as one scalar."""
        return F.mse_loss(outputs, self.logits) + self.gamma * self.hard.loss(outputs)
