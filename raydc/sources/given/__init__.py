"""Condensed sets that others have made, in the three forms in which they are handed on."""

from __future__ import annotations

from raydc.config.stages.adopt import AdoptConfig
from raydc.config.stages.data import DataConfig
from raydc.sources.given import images, published, tensors
from raydc.sources.given.base import FORMS, Given, Glance, Taken, form_of
from raydc.store.faults import clean

READERS = {"raydc": published, "folders": images, "safetensors": tensors}
"""How each form is looked at (``glance``) and opened (``find``)."""

__all__ = ["FORMS", "READERS", "Given", "Glance", "Taken", "form_of", "glance", "open_given"]


def glance(adopt: AdoptConfig) -> Glance:
    """Say of what form a set is and how large, without its class list.

    Raises:
        DataError: it is of no known form, empty, or cannot be read.
    """
    return READERS[form_of(adopt.url)].glance(adopt)


def open_given(adopt: AdoptConfig, data: DataConfig, classes: tuple[str, ...]) -> Given:
    """Find the images of a set and the class of each; no image is read.

    Args:
        adopt: where it lies and how it is read.
        data: the real data that it is held against; they say the size of images and the resize rule.
        classes: the label space.

    Raises:
        DataError: it is of no known form, empty, of another label space, or cannot be read.
    """
    return READERS[form_of(adopt.url)].find(adopt, data, classes)


def described(adopt: AdoptConfig) -> str:
    """The last part of a set's URL, for titles."""
    return clean(adopt.url).rstrip("/").rpartition("/")[2]
