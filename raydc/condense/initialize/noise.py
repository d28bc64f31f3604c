"""Noise: every pixel standard normal in the teacher's normalised space.

Source: SRe2L ``recover/data_synthesis.py``; for ImageNet-21K also N(0, 1) in pixel space, first clipped after the
first step (CDA ``recover_cda_in21k.py``).
Not for: students trained on hard labels: pictures grown from noise lose there to random real images (arXiv
2502.06434).
"""

from __future__ import annotations

import torch

from raydc.condense.initialize.place import Material, Place
from raydc.config.axes.initialize import Noise


def image(config: Noise, place: Place, real: Material) -> torch.Tensor:
    """Draw ``[3, size, size]`` for one picture; independent of block and worker."""
    return torch.from_numpy(place.key.child("noise", place.label, place.index).normal(3, place.size, place.size))
