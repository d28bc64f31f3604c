"""Codecs: how the logits of a label are stored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from raydc.config.base import Positive, Strict


class Fp16(Strict):
    """Half precision: two bytes a class."""

    use: Literal["fp16"] = "fp16"


class Int8(Strict):
    """One byte a class, with an offset and a step for each row."""

    use: Literal["int8"]


class Int4(Strict):
    """Half a byte a class, with an offset and a step for each row."""

    use: Literal["int4"]


class TopK(Strict):
    """The largest logits, three bytes each, and what the others are like on the whole."""

    use: Literal["top_k"]
    k: Positive = 128


def _named(value: Any) -> Any:
    """``int8`` is short for ``{use: int8}``."""
    return {"use": value} if isinstance(value, str) else value


Codec = Annotated[Fp16 | Int8 | Int4 | TopK, Field(discriminator="use"), BeforeValidator(_named)]
