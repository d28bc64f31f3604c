"""What chance and schedule say of a step: drawn on the host from keys, before the device does anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from raydc.keys import Key

Tensors = dict[str, torch.Tensor]
Pixels = Callable[[torch.Tensor], torch.Tensor]
"""What is made of pixels ``[B, 3, H, W]``, like them."""


@dataclass(frozen=True)
class Draws:
    """Of one step of a launch."""

    step: int
    keys: tuple[Key, ...]
    """Of the step, one a group."""
    places: tuple[int, ...]
    """Of the teachers that look."""
    moving: tuple[int, ...]
    """The images of each group that have begun."""
    lr: float
    terms: Tensors
    """What the terms leave to chance, by :func:`named`; on the host."""


def named(group: int, place: int, term: str) -> str:
    """The name of what a term of a group has drawn for its look through a teacher."""
    return f"{group}.{place}.{term}"


def draw_teachers(
    sampling: Literal["single", "round_robin", "random", "all"], count: int, key: Key, step: int
) -> tuple[int, ...]:
    """Which teachers of a pool of ``count`` look at a step whose key this is."""
    match sampling:
        case "round_robin":
            return (step % count,)
        case "random":
            return (int(key.child("teacher").integers(0, count)),)
        case "all":
            return tuple(range(count))
    return (0,)
