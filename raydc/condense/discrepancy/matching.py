"""Matching: the distance of a batch's statistics from those of the real data, over the layers of a teacher.

Formula: for each layer l and statistic k (mean, variance, by channel or tile) the norm ||S_lk - s_lk||_2 of target and
batch; ``sum_l2``: sum over l of w_l times the sum over k (SRe2L, G-VBSM, EDC), w being ``first_multiplier`` for the
first layer of the kind and 1 for the others (where a step leaves the first one out, no layer has it); ``mean_l2``: the
same, divided by the number of norms; ``mse``: the mean of the mean squared differences. With ``category`` g each norm
is (1 - g) times that to the target of all data plus g times that to the mixture of the batch's own classes.
Source: EDC, arXiv 2404.13733, equation 5 and its code, which matches the pooled batch to the pooled classes; the
equation would compare class by class. For a block of one class both are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch

from raydc.condense.discrepancy.average import RunningAverage
from raydc.condense.discrepancy.term import Look, Term
from raydc.condense.moments import Moments, wide
from raydc.config.axes.discrepancy import Matching

Goal = tuple[float, Moments]
"""A target and its share."""


class MatchingTerm(Term):
    """What the terms on statistics share; each says which layers it looks at and what all data look like there."""

    config: Matching
    kind: Literal["bn", "conv"]
    """The layers that it looks at."""

    def __init__(self, config: Matching) -> None:
        super().__init__(config)
        self.average = RunningAverage(config.average) if config.average else None

    def of_all(self, look: Look, position: int) -> Moments:
        """What all data look like at a layer."""
        raise NotImplementedError

    def kinds(self) -> tuple[str, ...]:
        """The statistics that are compared: fields of :class:`Moments`."""
        return ("mean", "var")

    def __call__(self, look: Look) -> torch.Tensor:
        """The distance, a scalar. ``vector_norm`` has gradient 0 at 0, so a layer that fits does no harm."""
        distances = []
        own = [n for n, layer in enumerate(look.taps.layers) if layer.kind == self.kind]
        for position in own:
            if position not in look.taps.batch:  # left out of this step, or not on the way through this network
                continue
            weight = self.config.first_multiplier if position == own[0] else 1.0
            goals = list(self._goals(look, position))
            for kind in self.kinds():
                batch = getattr(look.taps.batch[position], kind)
                if self.average is not None:
                    batch = self.average(f"{look.place}.{position}.{kind}", batch)
                distances.append(weight * self._distance(batch, [(share, getattr(m, kind)) for share, m in goals]))
        if not distances:  # nothing to say; 0, yet of the graph: the step's only term may be this one
            return 0.0 * wide(look.logits).sum()
        together = torch.stack(distances)
        return together.sum() if self.config.reduction == "sum_l2" else together.mean()

    def _goals(self, look: Look, position: int) -> Iterator[Goal]:
        share, name = self.config.category, look.taps.layers[position].name
        if share < 1:
            yield 1.0 - share, self.of_all(look, position)
        if share > 0:
            if look.guide.statistics is None:
                raise ValueError("category > 0 needs statistics of the real data by class, and there are none")
            device = look.logits.device
            yield share, look.guide.statistics.of_classes(look.classes, self.config.moment, device)[name]

    def _distance(self, batch: torch.Tensor, goals: list[tuple[float, torch.Tensor]]) -> torch.Tensor:
        parts = []
        for share, goal in goals:
            if goal.shape != batch.shape:  # one tile would be held against many without a word
                raise ValueError(
                    f"the batch has {len(batch)} values at a layer where the statistics of the real data have "
                    f"{len(goal)}: they are of pictures of another size"
                )
            apart = batch - goal.to(batch.dtype)
            mse = self.config.reduction == "mse"
            parts.append(share * (apart.square().mean() if mse else torch.linalg.vector_norm(apart)))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def state(self) -> dict[str, torch.Tensor]:
        """The running averages."""
        return self.average.state() if self.average is not None else {}

    def restore(self, state: dict[str, torch.Tensor], device: torch.device) -> None:
        """Go on from a state."""
        if self.average is not None:
            self.average.restore(state, device)
