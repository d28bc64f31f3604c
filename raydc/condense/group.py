"""The images of one block, judged by themselves: by their own statistics, whoever else is in the launch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from raydc.condense.discrepancy import DISCREPANCIES, Look, Term
from raydc.condense.draws import Tensors
from raydc.condense.history import History
from raydc.condense.observer import Layer
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.keys import Key


class Group:
    """A block's classes, the terms of its objective with what they remember, and its history.

    Args:
        classes: of each image.
        indices: of each image within its class; they say who begins when.
        key: the block's; step t draws from ``key.child("step", t)`` alone, so that a block resumes at any step.
    """

    def __init__(self, classes: Sequence[int], indices: Sequence[int], key: Key) -> None:
        self.classes, self.indices, self.key = tuple(classes), tuple(indices), key
        self.history = History()
        self.terms: dict[str, tuple[float, Term]] = {}

    def begin(self, config: SynthesizeConfig) -> None:
        """Begin a stage: terms that remember nothing."""
        self.terms = {c.use: (c.weight, DISCREPANCIES[c.use](c)) for c in config.objective if c.weight > 0}

    def wanted(self, layers: list[Layer]) -> dict[int, int]:
        """The layers of a teacher that some term looks at, and the side of their tiles."""
        wanted: dict[int, int] = {}
        for _, term in self.terms.values():
            for position, tile in term.tap(layers).items():
                wanted[position] = max(tile, wanted.get(position, 0))
        return wanted

    def draw(self, layers: list[Layer], step: Key) -> Tensors:
        """What the terms leave to chance in a step under a teacher, on the host, by name of the term."""
        drawn = {use: term.draw(layers, step) for use, (_, term) in self.terms.items()}
        return {use: torch.from_numpy(numbers) for use, numbers in drawn.items() if numbers is not None}

    def judge(self, look: Look) -> Tensors:
        """The unweighted terms, scalars by name."""
        return {use: term(look) for use, (_, term) in self.terms.items()}

    def objective(self, terms: Tensors) -> torch.Tensor:
        """Their weighted sum, a scalar."""
        return torch.stack([weight * terms[use] for use, (weight, _) in self.terms.items()]).sum()

    def state(self) -> Tensors:
        """What the terms remember, and the history."""
        kept = {f"term.{use}.{k}": v for use, (_, term) in self.terms.items() for k, v in term.state().items()}
        return {**kept, **self.history.state()}

    def restore(self, state: Tensors, device: torch.device) -> None:
        """Go on from a state of the same block."""
        for use, (_, term) in self.terms.items():
            prefix = f"term.{use}."
            term.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}, device)
        self.history = History.of(state)
