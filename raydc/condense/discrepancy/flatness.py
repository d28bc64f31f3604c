"""Flatness: the teacher's answer to the pictures held against its answer to their running average.

Formula: X_t = decay X_(t-1) + (1 - decay) x_t, X_0 = x_0; mean over images of
KL(softmax(phi(A(x_t)) / temperature) || softmax(phi(A(X_t)) / temperature)), A being the augmentations of the step and
phi the teacher; the gradient goes through phi(A(x_t)) alone. No factor temperature^2.
Source: EDC, arXiv 2404.13733, equation 7, as printed. The published code, where it has the term at all, takes the
other direction, KL(average || pictures), divides by images times classes, and has weight 1; which of them made the
paper's tables is not known (specification, 3.3 item 6).
Defaults: weight 0.25, decay 0.99, temperature 4 (table 4).
Not for: runs where time counts: it looks twice at each step, though the second look needs no gradient.
"""

from __future__ import annotations

import torch

from raydc.condense.discrepancy.term import Look, Term
from raydc.condense.moments import wide
from raydc.config.axes.discrepancy import Flatness
from raydc.keys import Key


class FlatnessTerm(Term):
    """The divergence from the answer to the running average of the pixels."""

    config: Flatness

    def __init__(self, config: Flatness) -> None:
        super().__init__(config)
        self._kept: torch.Tensor | None = None
        self._rows: torch.Tensor | None = None
        """Which images of the block are averaged already: those of later rounds begin with their first pixels."""
        self._step: Key | None = None

    def __call__(self, look: Look) -> torch.Tensor:
        """The divergence, a scalar."""
        now = (wide(look.logits) / self.config.temperature).log_softmax(1)
        kept = wide(look.answer(self._average(look))) / self.config.temperature
        return (now.exp() * (now - kept.detach().log_softmax(1))).sum(1).mean()

    def _average(self, look: Look) -> torch.Tensor:
        """The average with the pixels of this step in it, once a step however many teachers look."""
        now, kept = look.pixels.detach(), self._kept
        if kept is None or look.key != self._step:
            if kept is None or len(kept) != len(now):
                kept = self._begin(now, look.rows)
            self._step = look.key
            kept += (1.0 - self.config.decay) * (now - kept)  # in place: a recorded step finds it there
        return kept

    def _begin(self, now: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        """Take up images that begin to move, and keep what is known of the others."""
        rows = torch.arange(len(now), device=now.device) if rows is None else rows
        kept = now.clone()
        if self._kept is not None and self._rows is not None:
            kept[torch.searchsorted(rows, self._rows)] = self._kept
        self._kept, self._rows = kept, rows
        return kept

    def state(self) -> dict[str, torch.Tensor]:
        """The average, and which images of the block it is of."""
        if self._kept is None or self._rows is None:
            return {}
        return {"kept": self._kept.clone(), "rows": self._rows.clone()}

    def restore(self, state: dict[str, torch.Tensor], device: torch.device) -> None:
        """Go on from a state."""
        if state:
            self._kept, self._rows = state["kept"].to(device), state["rows"].to(device)
