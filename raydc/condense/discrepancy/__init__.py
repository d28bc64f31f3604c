"""Distances between the synthetic and the real distribution: the terms of the synthesis objective.

A term is made once for a block from its record, and called with every look at the images (``term.py``). To add one: a
config record in ``config/axes/discrepancy.py``, a file here, a line in the table.
"""

from __future__ import annotations

from raydc.condense.discrepancy.bn_statistics import BNStatisticsTerm
from raydc.condense.discrepancy.conv_statistics import ConvStatisticsTerm
from raydc.condense.discrepancy.cross_entropy import CrossEntropyTerm
from raydc.condense.discrepancy.densification import DensificationTerm
from raydc.condense.discrepancy.flatness import FlatnessTerm
from raydc.condense.discrepancy.pixel_norm import PixelNormTerm
from raydc.condense.discrepancy.term import Look, Term
from raydc.condense.discrepancy.total_variation import TotalVariationTerm

DISCREPANCIES: dict[str, type[Term]] = {
    "cross_entropy": CrossEntropyTerm,
    "bn_statistics": BNStatisticsTerm,
    "conv_statistics": ConvStatisticsTerm,
    "densification": DensificationTerm,
    "flatness": FlatnessTerm,
    "total_variation": TotalVariationTerm,
    "pixel_norm": PixelNormTerm,
}

__all__ = ["DISCREPANCIES", "Look", "Term"]
