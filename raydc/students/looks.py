"""What students see beside the crop: which views are whose, and DSA on the pixels of a batch."""

from __future__ import annotations

import numpy as np
import torch

from raydc.condense.augment import dsa
from raydc.config.axes.augment import Dsa
from raydc.config.axes.views import Views
from raydc.config.stages.evaluate import EvaluateConfig
from raydc.config.stages.networks import Normalize
from raydc.keys import Key

WHOLE = Views(min_scale=1.0, ratio=(1.0, 1.0), flip=0.0)
"""The stored image as it is."""


def views_of(config: EvaluateConfig, labels: str, augment: str, taught: Views | None) -> Views:
    """The views that are drawn for a student.

    Args:
        config: the protocol.
        labels: ``soft`` or ``hard``.
        augment: ``protocol`` or ``none``.
        taught: the views of ``relabel``; None: the default distribution.
    """
    if augment == "none":
        return WHOLE
    if labels == "hard" and config.views is not None:
        return config.views
    return taught or Views()


def draws_anew(config: EvaluateConfig, labels: str, augment: str) -> bool:
    """Whether a student sees other views than those that are stored with the labels."""
    return augment == "none" or (labels == "hard" and config.views is not None)


class DsaLook:
    """DSA as students of hard labels see it: on normalised values, so that zeros are the mean colour."""

    def __init__(self, config: Dsa, normalize: Normalize, device: torch.device | str) -> None:
        self._config = config
        self._mean = torch.tensor(normalize.mean, device=device).view(-1, 1, 1)
        self._std = torch.tensor(normalize.std, device=device).view(-1, 1, 1)

    def __call__(self, x01: torch.Tensor, key: Key, rows: np.ndarray) -> torch.Tensor:
        """Another look at ``[B, 3, S, S]`` in [0, 1], in the same units; values may leave the range, as there.

        Args:
            x01: some rows of a batch.
            key: of the batch.
            rows: which ones, int64 ``[B]``; what a row gets depends on no other.
        """
        size = (int(x01.shape[2]), int(x01.shape[3]))
        op, numbers = dsa.draw_each(self._config, key, int(rows.max()) + 1, size)
        return dsa.apply_each((x01 - self._mean) / self._std, (op, numbers[rows])) * self._std + self._mean
