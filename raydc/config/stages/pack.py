"""The pack section: how images are stored."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raydc.config.base import Positive, Strict


class PackConfig(Strict):
    """How images are stored."""

    format: Literal["png", "jpg"] = "png"
    quality: int = Field(95, ge=1, le=100)
    """JPEG quality; chroma is never subsampled."""
    shard_size: Positive = 1024
    """Images a shard."""
