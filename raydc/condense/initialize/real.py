"""Real: start from real images of the class, drawn without replacement.

Source: EDC, arXiv 2404.13733, appendix A.1 (small data sets): random training images as the start, which halves the
steps and adds 3.0 points on ImageNet-1K at IPC 10 (figure 1, A to B; with RDED mosaics there).
Not for: data sets whose pictures must not be recognisable in the product.
"""

from __future__ import annotations

import torch

from raydc.condense.initialize.place import Material, Place
from raydc.config.axes.initialize import Real


def image(config: Real, place: Place, real: Material) -> torch.Tensor:
    """Return the ``index``-th of a keyed permutation of the class's images, ``[3, size, size]`` in the space.

    Raises:
        ValueError: no real data, or the class has too few images.
    """
    gallery, label = real.images(config.use), place.label
    count = gallery.count(label)
    if place.index >= count:
        raise ValueError(f"initialize: real needs {place.index + 1} images of class {label}, which has {count}")
    chosen = int(place.key.child("real", label).permutation(count)[place.index])
    return place.space.normalize(gallery.image(label, chosen).float() / 255.0).cpu()
