"""Cross-entropy: is the picture of its class, in the teacher's eyes?

Formula: mean over images of -log softmax(logits)[label].
Source: SRe2L, arXiv 2306.13092, section 3.2; ``recover/data_synthesis.py``.
Defaults: weight 1 (all sources).
Not for: teachers whose outputs are not classes of the data set.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from raydc.condense.discrepancy.term import Look, Term
from raydc.condense.moments import wide


class CrossEntropyTerm(Term):
    """The mean cross-entropy of the logits with the labels."""

    def __call__(self, look: Look) -> torch.Tensor:
        """The mean cross-entropy, a scalar; never in 16 bits."""
        return F.cross_entropy(wide(look.logits), look.labels)
