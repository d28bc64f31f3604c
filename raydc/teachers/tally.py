"""Right answers by class, counted where they are given."""

from __future__ import annotations

import torch


class Tally:
    """Test images and top-1 hits of every class."""

    def __init__(self) -> None:
        self.counts: torch.Tensor | None = None
        """int64 ``[classes, 2]``: hits, images; None before the first batch."""

    def add(self, right: torch.Tensor, labels: torch.Tensor, classes: int) -> None:
        """Count a batch: bool ``[B]``, int64 ``[B]``, without waiting for the device."""
        if self.counts is None:
            self.counts = torch.zeros(classes, 2, dtype=torch.int64, device=labels.device)
        self.counts.index_add_(0, labels, torch.stack([right.long(), torch.ones_like(labels)], dim=1))
