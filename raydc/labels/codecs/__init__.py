"""Codecs: logits to rows of bytes and back, each with a NumPy row type that opens the file without raydc.

Logits are stored, never probabilities, so that a student may choose its temperature.
"""

from __future__ import annotations

from typing import Any

from raydc.labels.codecs.affine import Int4, Int8
from raydc.labels.codecs.base import Codec, describe
from raydc.labels.codecs.fp16 import Fp16
from raydc.labels.codecs.top_k import TopK

__all__ = ["CODECS", "Codec", "codec_of", "describe"]

CODECS: dict[str, Any] = {"fp16": Fp16, "int8": Int8, "int4": Int4, "top_k": TopK}
"""Their classes by name; each is made with its own settings."""


def codec_of(use: str, **settings: Any) -> Codec:
    """The codec of a name, with its settings: those of its record in the configuration, or in a manifest.

    Raises:
        TypeError: these are not its settings.
    """
    made: Codec = CODECS[use](**settings)
    return made
