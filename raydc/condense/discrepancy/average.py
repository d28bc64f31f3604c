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

from raydc.config.axes.discrepancy import Average


class RunningAverage:
    """Averages of tensors by name; each counts its own visits."""

    def __init__(self, config: Average) -> None:
        self.config = config
        self._kept: dict[str, torch.Tensor] = {}
        self._visits: dict[str, int] = {}

    def __call__(self, name: str, now: torch.Tensor) -> torch.Tensor:
        """Take ``now`` into the average of that name; the average, with the derivative of ``now``."""
        decay, fixed = self.config.decay, now.detach()
        before = self._kept.get(name)
        kept = (1.0 - decay) * fixed if before is None else decay * before + (1.0 - decay) * fixed
        self._kept[name] = kept
        self._visits[name] = visits = self._visits.get(name, 0) + 1
        return (kept / (1.0 - decay**visits) if self.config.bias_correct else kept) + (now - fixed)

    def state(self) -> dict[str, torch.Tensor]:
        """The averages and their visits."""
        visits = {f"visits.{name}": torch.tensor(count) for name, count in self._visits.items()}
        return {**{f"kept.{name}": kept.clone() for name, kept in self._kept.items()}, **visits}

    def restore(self, state: dict[str, torch.Tensor], device: torch.device) -> None:
        """Go on from a state."""
        self._kept = {k.removeprefix("kept."): v.to(device) for k, v in state.items() if k.startswith("kept.")}
        self._visits = {k.removeprefix("visits."): int(v) for k, v in state.items() if k.startswith("visits.")}
