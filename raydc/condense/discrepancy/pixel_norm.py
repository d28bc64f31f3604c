"""Pixel norm: how far the pictures are from the mean colour.

Formula: mean over images of ||v_i||_2, v_i the view of image i in the block's normalised space, flattened; not squared.
Source: DeepInversion, arXiv 1912.08795; SRe2L ``recover/data_synthesis.py`` (``l2_scale``), which takes it of the
augmented images.
Defaults: weight 1e-5, the argument's default there; every released script sets 0.
Not for: repeating a published method; none uses it.
"""

from __future__ import annotations

import torch

from raydc.condense.discrepancy.term import Look, Term
from raydc.condense.moments import wide


class PixelNormTerm(Term):
    """The mean length of the views."""

    def __call__(self, look: Look) -> torch.Tensor:
        """The mean length, a scalar."""
        return torch.linalg.vector_norm(wide(look.view).flatten(1), dim=1).mean()
