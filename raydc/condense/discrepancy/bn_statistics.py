"""BN statistics: does the batch look like the training data at every BatchNorm input?

Formula: sum over layers l of w_l (||var_l - running_var_l||_2 + ||mean_l - running_mean_l||_2), where w is
``first_multiplier`` for the first layer and 1 for the others; norms over channels, not squared, not averaged;
variances biased.
Source: SRe2L, arXiv 2306.13092, section 3.2; ``recover/utils.py`` (``BNFeatureHook``), ``recover/data_synthesis.py``.
Defaults: weight 0.01 and first_multiplier 10, ``recover/recover.sh`` (ImageNet-1K). The scale depends on the teacher:
about 1e2 for ResNet-18, 1e4 for ResNet-50, so re-tune the weight with another network.
Not for: networks without BatchNorm.
"""

from __future__ import annotations

import torch

from raydc.condense.taps import Taps


def bn_statistics(taps: Taps, first_multiplier: float) -> torch.Tensor:
    """The distance of the batch statistics from the running ones, a scalar.

    ``torch.linalg.vector_norm`` has gradient 0 where its argument is 0, so a perfect layer does no harm.

    Raises:
        ValueError: the network has no BatchNorm layer with running statistics.
    """
    if not taps.batch:
        raise ValueError("bn_statistics needs a teacher with BatchNorm2d layers and running statistics; found none")
    distances = [
        torch.linalg.vector_norm(var - running_var.to(var.dtype))
        + torch.linalg.vector_norm(mean - running_mean.to(mean.dtype))
        for mean, var, running_mean, running_var in taps.pairs()
    ]
    distances[0] = first_multiplier * distances[0]
    return torch.stack(distances).sum()
