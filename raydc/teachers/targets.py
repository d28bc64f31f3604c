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
    """KL(softmax(teacher / T) || softmax(student / T)), mean over the batch, without the factor T^2.

    SRe2L ``validate/train_FKD.py``. With AdamW the factor would change next to nothing, with SGD it would multiply
    the learning rate by T^2.
    """

    logits: torch.Tensor
    """float ``[B, classes]``, before the temperature."""
    temperature: float

    def loss(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the divergence as a scalar."""
        student = F.log_softmax(outputs / self.temperature, dim=1)
        teacher = F.log_softmax(self.logits / self.temperature, dim=1)
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


@dataclass(frozen=True)
class Hard:
    """Cross-entropy with the class; of a CutMix view, with both classes by share of the area (Yun et al. 2019)."""

    labels: torch.Tensor
    """int64 ``[B]``."""
    smoothing: float = 0.0
    partners: torch.Tensor | None = None
    """int64 ``[B]``: the class of the image pasted in."""
    kept: torch.Tensor | None = None
    """float32 ``[B]``: the fraction of the view that still shows the image itself."""

    def loss(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy as a scalar."""
        own = F.cross_entropy(outputs, self.labels, label_smoothing=self.smoothing, reduction="none")
        if self.partners is None or self.kept is None:
            return own.mean()
        other = F.cross_entropy(outputs, self.partners, label_smoothing=self.smoothing, reduction="none")
        return (self.kept * own + (1.0 - self.kept) * other).mean()
