"""Noise: every pixel standard normal in the teacher's normalised space.

Source: SRe2L ``recover/data_synthesis.py``; for ImageNet-21K also N(0, 1) in pixel space, first clipped after the
first step (CDA ``recover_cda_in21k.py``).
Not for: students trained on hard labels: pictures grown from noise lose there to random real images (arXiv
2502.06434).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from raydc.condense.initialize.gallery import Gallery
from raydc.condense.initialize.pick import Pick
from raydc.condense.space import Space
from raydc.config.axes.initialize import Noise
from raydc.keys import Key


def image(
    config: Noise,
    key: Key,
    label: int,
    index: int,
    ipc: int,
    size: int,
    space: Space,
    gallery: Gallery | None,
    picks: Sequence[Pick] | None,
) -> torch.Tensor:
    """Draw ``[3, size, size]`` for image ``index`` of class ``label``; independent of block and worker."""
    return torch.from_numpy(key.child("noise", label, index).normal(3, size, size))
