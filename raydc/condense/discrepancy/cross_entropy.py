"""Cross-entropy: is the picture of its class, in the teacher's eyes?

Formula: mean over images of -log softmax(logits)[label].
Source: SRe2L, arXiv 2306.13092, section 3.2; ``recover/data_synthesis.py``.
Defaults: weight 1 (all sources).
Not for: teachers whose outputs are not classes of the data set.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of logits ``[B, K]`` with labels ``[B]``, a scalar."""
    return F.cross_entropy(logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits, labels)
