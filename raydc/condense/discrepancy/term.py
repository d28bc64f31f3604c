"""What a term of the objective is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from raydc.condense.guide import Guide
from raydc.condense.observer import Layer, Taps
from raydc.keys import Key


@dataclass(frozen=True)
class Look:
    """One teacher's look at the images of a block that move at one step."""

    pixels: torch.Tensor
    """``[B, 3, S, S]``, in the space of the block; the gradient flows here."""
    rows: torch.Tensor | None
    """int64 ``[B]``: which images of the block they are; None: all."""
    view: torch.Tensor
    """The same through the augmentations of the step."""
    labels: torch.Tensor
    """int64 ``[B]``."""
    classes: tuple[int, ...]
    """The labels as numbers of the host: asking a tensor for them would stall the device."""
    logits: torch.Tensor
    """float32 ``[B, K]``."""
    taps: Taps
    drawn: Mapping[str, torch.Tensor]
    """What terms have drawn for the step, by their names."""
    guide: Guide
    place: int
    """Of the teacher in the pool: what is averaged over steps is averaged for each teacher."""
    key: Key
    """The step's, for draws of a term."""
    answer: Callable[[torch.Tensor], torch.Tensor]
    """Logits, without a gradient, of other pixels of the same images through the same augmentations."""


class Term:
    """A term of the objective, for one block: a distance, and what it remembers from step to step."""

    recordable = True
    """Whether a step with it can be recorded: it asks the device for no number, and remembers in place."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def tap(self, layers: list[Layer]) -> Mapping[int, int]:
        """The layers to look at: position, and side of the tiles or 0. A pure function of its argument."""
        return {}

    def draw(self, layers: list[Layer], key: Key) -> np.ndarray | None:
        """What the term leaves to chance in a step, as numbers of the host; None: nothing. Pure."""
        return None

    def __call__(self, look: Look) -> torch.Tensor:
        """The unweighted distance, a scalar."""
        raise NotImplementedError

    def state(self) -> dict[str, torch.Tensor]:
        """What the next step depends on."""
        return {}

    def restore(self, state: dict[str, torch.Tensor], device: torch.device) -> None:
        """Go on from a state."""
