"""raydc: distributed condensation of image-classification data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raydc.sources.condensed import CondensedDataset

__version__ = "0.1.0"


def open(url: str, labels: str | None = None, **options: Any) -> CondensedDataset:  # noqa: A001
    """Open a condensed data set for training. See :class:`raydc.sources.condensed.CondensedDataset`."""
    from raydc.sources.condensed import CondensedDataset

    return CondensedDataset(url, labels, **options)
