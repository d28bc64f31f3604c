"""What a network is held against in one step: a teacher's logits, or hard labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F


class Target(Protocol):
    """Anything with a mean loss over a batch."""

    def loss(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits ``[B, classes]``, a scalar."""


@dataclass(frozen=True)
class Soft:
    """KL(softmax(teacher / T) || softmax(student / T)), mean over the batch, times T^2 only if asked for.

    SRe2L ``validate/train_FKD.py`` and RDED leave the factor out; zeyuanyin/tiny-imagenet ``train_kd.py`` has it. With
    AdamW it changes next to nothing, with SGD it multiplies the learning rate by T^2.
    """

    logits: torch.Tensor
    """float ``[B, classes]``, before the temperature."""
    temperature: float
    squared: bool = False

    def loss(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the divergence as a scalar."""
        student = F.log_softmax(outputs / self.temperature, dim=1)
        teacher = F.log_softmax(self.logits / self.temperature, dim=1)
        divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return divergence * self.temperature**2 if self.squared else divergence


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
