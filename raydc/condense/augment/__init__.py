"""The look of a step: each component draws a small record from a key, then applies it to the batch.

``draw(config, key, count, (H, W), step, steps) -> record`` runs on the host in NumPy; ``apply(x, record)`` is
differentiable torch. To add one: a config record in ``config/axes/augment.py``, a file here, a line in the table.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch

from raydc.condense.augment import dsa, flip, padded_crop, patch_shuffle, resized_crop, roll
from raydc.keys import Key

AUGMENTATIONS: dict[str, ModuleType] = {
    "resized_crop": resized_crop,
    "padded_crop": padded_crop,
    "flip": flip,
    "roll": roll,
    "patch_shuffle": patch_shuffle,
    "dsa": dsa,
}


def augment(x: torch.Tensor, configs: list[Any], key: Key, step: int, steps: int) -> torch.Tensor:
    """Apply the listed augmentations in order to ``[B, C, H, W]``, each with its own key below ``key``."""
    size = (int(x.shape[2]), int(x.shape[3]))
    for position, config in enumerate(configs):
        component = AUGMENTATIONS[config.use]
        record = component.draw(config, key.child(position, config.use), len(x), size, step, steps)
        x = component.apply(x, record)
    return x
