"""Total variation: how much neighbouring pixels differ.

Formula: ||right||_2 + ||down||_2 + ||down right||_2 + ||down left||_2, each the norm of the differences of all pixels
of the batch of views from that neighbour.
Source: DeepInversion, arXiv 1912.08795; SRe2L ``recover/data_synthesis.py`` (``tv_l2``), which takes it of the
augmented images.
Defaults: weight 1e-4, the argument's default there; every released script sets 0.
Not for: repeating a published method; none uses it. The norm is of the whole batch, so it grows with the square root
of its size.
"""

from __future__ import annotations

import torch

from raydc.condense.discrepancy.term import Look, Term
from raydc.condense.moments import wide


class TotalVariationTerm(Term):
    """The norms of the differences of neighbours."""

    def __call__(self, look: Look) -> torch.Tensor:
        """The sum of the four norms, a scalar."""
        x = wide(look.view)
        differences = (
            x[..., :, 1:] - x[..., :, :-1],
            x[..., 1:, :] - x[..., :-1, :],
            x[..., 1:, 1:] - x[..., :-1, :-1],
            x[..., 1:, :-1] - x[..., :-1, 1:],
        )
        return torch.stack([torch.linalg.vector_norm(d) for d in differences]).sum()
