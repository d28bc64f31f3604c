"""BN statistics: does the batch look like the training data at every BatchNorm input?

Formula: sum over layers l of w_l (||var_l - running_var_l||_2 + ||mean_l - running_mean_l||_2), where w is
``first_multiplier`` for the first layer and 1 for the others; norms over channels, not squared, not averaged;
variances biased. What it shares with others: ``matching.py``.
Source: SRe2L, arXiv 2306.13092, section 3.2; ``recover/utils.py`` (``BNFeatureHook``), ``recover/data_synthesis.py``.
With ``category`` the targets are those of the batch's classes: LPLD, arXiv 2410.15919 (``category: 1`` in blocks of one
class), EDC, arXiv 2404.13733, equation 5 (0.5).
Defaults: weight 0.01 and first_multiplier 10, ``recover/recover.sh`` (ImageNet-1K). The scale depends on the teacher:
about 1e2 for ResNet-18, 1e4 for ResNet-50, so re-tune the weight with another network.
Not for: networks without BatchNorm; in a pool they simply have nothing to say.
"""

from __future__ import annotations

from collections.abc import Mapping

from raydc.condense.discrepancy.matching import MatchingTerm
from raydc.condense.discrepancy.term import Look
from raydc.condense.moments import Moments
from raydc.condense.observer import Layer


class BNStatisticsTerm(MatchingTerm):
    """The distance at the BatchNorm inputs."""

    kind = "bn"

    def tap(self, layers: list[Layer]) -> Mapping[int, int]:
        """Every BatchNorm layer, by channel."""
        return {n: 0 for n, layer in enumerate(layers) if layer.kind == "bn"}

    def of_all(self, look: Look, position: int) -> Moments:
        """The teacher's own running statistics."""
        return look.guide.layers[position].running
