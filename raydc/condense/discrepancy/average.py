"""A running average with the gradient of the present: what the statistics of small batches are smoothed with.

Formula: a_t = d a_(t-1) + (1 - d) stopgrad(s_t), result a_t + s_t - stopgrad(s_t): the value is the average's, the
derivative is that of s_t with factor 1.
Source: G-VBSM, arXiv 2311.17950; specification section 1.3. There a_0 = 0 is never corrected and lives on from one
batch of images to the next, whatever their classes; here each block begins anew, and ``bias_correct`` divides by
1 - d^t. ``bias_correct: false`` is the reference's value within a block; its memory of other blocks is not offered,
because a block would then depend on which worker made which one before.
"""

from __future__ import annotations

import torch

from raydc.condense.segments import Segments
from raydc.config.axes.discrepancy import Average


class RunningAverage:
    """Averages of vectors by name, of the layers in them; each layer counts its own visits."""

    def __init__(self, config: Average) -> None:
        self.config = config
        self._kept: dict[str, torch.Tensor] = {}
        self._visits: dict[str, torch.Tensor] = {}

    def __call__(self, name: str, now: torch.Tensor, segments: Segments, there: torch.Tensor) -> torch.Tensor:
        """Take ``now`` into the average of that name; the average, with the derivative of ``now``.

        Args:
            name: of the average.
            now: ``[N]``, all layers, one after another.
            segments: where the layers lie in it.
            there: ``[L]``, 1 for layers that are visited; what is kept of the others stays, and they get no answer.
        """
        decay, fixed = self.config.decay, now.detach()
        kept = self._kept.setdefault(name, torch.zeros_like(fixed))
        visits = self._visits.setdefault(name, torch.zeros_like(there, dtype=torch.float64))
        visits += there
        kept.copy_(torch.where(segments.spread(there) > 0, decay * kept + (1.0 - decay) * fixed, kept))
        if not self.config.bias_correct:
            return kept + (now - fixed)
        share = (1.0 - decay**visits).clamp_min(torch.finfo(torch.float32).tiny).to(now.dtype)
        return kept / segments.spread(share) + (now - fixed)

    def state(self) -> dict[str, torch.Tensor]:
        """The averages and their visits."""
        kept = {f"kept.{name}": values.clone() for name, values in self._kept.items()}
        return {**kept, **{f"visits.{name}": count.clone() for name, count in self._visits.items()}}

    def restore(self, state: dict[str, torch.Tensor], device: torch.device) -> None:
        """Go on from a state."""
        kept, visits = (
            {k.removeprefix(prefix): v.to(device) for k, v in state.items() if k.startswith(prefix)}
            for prefix in ("kept.", "visits.")
        )
        self._kept, self._visits = kept, visits
