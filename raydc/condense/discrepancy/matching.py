"""Matching: the distance of a batch's statistics from those of the real data, over the layers of a teacher.

Formula: for each layer l and statistic k (mean, variance, by channel or tile) the norm ||S_lk - s_lk||_2 of target and
batch; ``sum_l2``: sum over l of w_l times the sum over k (SRe2L, G-VBSM, EDC), w being ``first_multiplier`` for the
first layer of the kind and 1 for the others (where a step leaves the first one out, no layer has it); ``mean_l2``: the
same, divided by the number of norms; ``mse``: the mean of the mean squared differences. With ``category`` g each norm
is (1 - g) times that to the target of all data plus g times that to the mixture of the batch's own classes.
Source: EDC, arXiv 2404.13733, equation 5 and its code, which matches the pooled batch to the pooled classes; the
equation would compare class by class. For a block of one class both are the same.

All layers are compared at once: a statistic of all of them is one vector, and a norm a layer is a sum over its segment.
Written layer by layer, 361 of the 737 operations of a step of ResNet-18 were of its forty little norms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from raydc.condense.discrepancy.average import RunningAverage
from raydc.condense.discrepancy.term import Look, Term
from raydc.condense.moments import Moments, wide
from raydc.condense.observer import Seen
from raydc.condense.segments import Segments
from raydc.config.axes.discrepancy import Matching


@dataclass(frozen=True)
class Goals:
    """What the layers of a look are held against; the same at every step of a block in the eyes of one teacher."""

    seen: tuple[object, ...]
    """What of a look they depend on."""
    targets: list[tuple[float, Moments]]
    """Each with its share, its vectors in the order of those of the look."""
    weights: torch.Tensor
    """``[L]``: of the layers."""
    positions: torch.Tensor
    """int64 ``[L]``: of the layers among all of the network."""
    all: torch.Tensor
    """``[L]``: ones."""
    by_channel: Segments
    by_tile: Segments


class MatchingTerm(Term):
    """What the terms on statistics share; each says which layers it looks at and what all data look like there."""

    config: Matching
    kind: Literal["bn", "conv"]
    """The layers that it looks at."""

    def __init__(self, config: Matching) -> None:
        super().__init__(config)
        self.average = RunningAverage(config.average) if config.average else None
        self._goals: dict[int, Goals] = {}

    def of_all(self, look: Look, position: int) -> Moments:
        """What all data look like at a layer."""
        raise NotImplementedError

    def kinds(self) -> tuple[str, ...]:
        """The statistics that are compared: fields of :class:`Moments`."""
        return ("mean", "var")

    def __call__(self, look: Look) -> torch.Tensor:
        """The distance, a scalar."""
        seen = look.taps.get(self.kind)
        if seen is None:  # nothing to say; 0, yet of the graph: the step's only term may be this one
            return 0.0 * wide(look.logits).sum()
        goals = self._of(look, seen)
        there = self._there(look, goals)
        weights = goals.weights * there
        total = weights.new_zeros(())
        for kind in self.kinds():
            batch, segments = getattr(seen.batch, kind), goals.by_tile if "tile" in kind else goals.by_channel
            if self.average is not None:
                batch = self.average(f"{look.place}.{kind}", batch, segments, there)
            for share, target in goals.targets:
                apart = batch - getattr(target, kind)
                each = segments.means(apart.square()) if self.config.reduction == "mse" else segments.norms(apart)
                total = total + share * (weights * each).sum()
        if self.config.reduction == "sum_l2":
            return total
        return total / (there.sum().clamp_min(1.0) * len(self.kinds()))

    def _there(self, look: Look, goals: Goals) -> torch.Tensor:
        """1 for the layers that this step compares, 0 for the others, ``[L]``."""
        drawn = look.drawn.get(f"{self.kind}_statistics")
        return goals.all if drawn is None else drawn[goals.positions]

    def _of(self, look: Look, seen: Seen) -> Goals:
        """The goals of a look: those of the last one of this teacher, unless other classes or sizes are seen."""
        classes = look.classes if self.config.category > 0 else ()
        asked = (seen.positions, seen.lengths, classes, look.logits.device)
        kept = self._goals.get(look.place)
        if kept is None or kept.seen != asked:
            kept = self._goals[look.place] = self._made(look, seen, asked)
        return kept

    def _made(self, look: Look, seen: Seen, asked: tuple[object, ...]) -> Goals:
        device, dtype = look.logits.device, seen.batch.mean.dtype
        own = next(n for n, layer in enumerate(look.guide.layers) if layer.kind == self.kind)
        weights = [self.config.first_multiplier if n == own else 1.0 for n in seen.positions]
        channels, tiles = ([int(pair[n]) for pair in seen.lengths] for n in (0, 1))
        targets = []
        for share, moments in self._shares(look, seen):
            vectors = {kind: [getattr(m, kind) for m in moments] for kind in self.kinds()}
            for kind, parts in vectors.items():
                _check(parts, tiles if "tile" in kind else channels)
            joined = {kind: torch.cat(parts).to(device, dtype) for kind, parts in vectors.items()}
            targets.append((share, Moments(*(joined.get(field) for field in Moments._fields))))  # type: ignore[arg-type]
        return Goals(
            asked, targets, torch.tensor(weights, device=device, dtype=dtype),
            torch.tensor(seen.positions, device=device), torch.ones(len(weights), device=device),
            Segments(channels, device), Segments(tiles, device),
        )  # fmt: skip

    def _shares(self, look: Look, seen: Seen) -> list[tuple[float, list[Moments]]]:
        share, found = self.config.category, []
        if share < 1:
            found.append((1.0 - share, [self.of_all(look, n) for n in seen.positions]))
        if share > 0:
            if look.guide.statistics is None:
                raise ValueError("category > 0 needs statistics of the real data by class, and there are none")
            own = look.guide.statistics.of_classes(look.classes, self.config.moment, look.logits.device)
            found.append((share, [own[look.guide.layers[n].name] for n in seen.positions]))
        return found

    def state(self) -> dict[str, torch.Tensor]:
        """The running averages."""
        return self.average.state() if self.average is not None else {}

    def restore(self, state: dict[str, torch.Tensor], device: torch.device) -> None:
        """Go on from a state."""
        if self.average is not None:
            self.average.restore(state, device)


def _check(targets: list[torch.Tensor], lengths: list[int]) -> None:
    """Refuse targets of other shapes: one tile would be held against many without a word."""
    for target, length in zip(targets, lengths, strict=True):
        if len(target) != length:
            raise ValueError(
                f"the batch has {length} values at a layer where the statistics of the real data have "
                f"{len(target)}: they are of pictures of another size"
            )
