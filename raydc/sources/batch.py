"""Some rows of a condensed data set, with what was asked for of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Batch:
    """Rows of a data set. Without a label set, ``records`` and ``logits`` are None: the caller draws its own views.
    ``logits`` are None also where they were not asked for.

    The ``partner`` fields are the images that CutMix pastes in, aligned with the rows; None if no record mixes. The
    partner of an unmixed row is the row itself.
    """

    index: np.ndarray
    """int64 ``[B]``: positions in the data set."""
    images: np.ndarray
    """uint8 ``[B, H, W, 3]``."""
    labels: np.ndarray
    """int64 ``[B]``."""
    whole: np.ndarray
    """int64: the positions of all rows of the global batch; of one rank's part ``rank::world`` are its own."""
    records: np.ndarray | None = None
    """uint16 ``[B, 12]``."""
    logits: np.ndarray | None = None
    """float32 ``[B, K]``."""
    encoded: np.ndarray | None = None
    """uint8 ``[B, row_bytes]``: the logits as they are stored, where they were asked for so."""
    partners: np.ndarray | None = None
    partner_records: np.ndarray | None = None
    partner_labels: np.ndarray | None = None
