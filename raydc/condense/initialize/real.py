"""Real: start from real images of the class, drawn without replacement.

Source: EDC, arXiv 2404.13733, appendix A.1 (small data sets): random training images as the start, which halves the
steps and adds 3.0 points on ImageNet-1K at IPC 10 (figure 1, A to B; with RDED mosaics there).
Not for: data sets whose pictures must not be recognisable in the product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from raydc.condense.initialize.gallery import Gallery
from raydc.condense.initialize.pick import Pick
from raydc.condense.space import Space
from raydc.config.axes.initialize import Real
from raydc.keys import Key


def image(
    config: Real,
    key: Key,
    label: int,
    index: int,
    ipc: int,
    size: int,
    space: Space,
    gallery: Gallery | None,
    picks: Sequence[Pick] | None,
) -> torch.Tensor:
    """Return the ``index``-th of a keyed permutation of the class's images, ``[3, size, size]`` in the space.

    Raises:
        ValueError: no real data, or the class has too few images.
    """
    if gallery is None:
        raise ValueError("initialize: real needs real images, but the run has none (data.use is 'none')")
    count = gallery.count(label)
    if index >= count:
        raise ValueError(f"initialize: real needs {index + 1} images of class {label}, which has {count}")
    chosen = int(key.child("real", label).permutation(count)[index])
    return space.normalize(gallery.image(label, chosen).float() / 255.0).cpu()
