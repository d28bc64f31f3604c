"""A network as a run names it: where it comes from, and what it expects of its input."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from raydc.config.base import Name, Strict


class Normalize(Strict):
    """The affine map that a network expects before its first layer: (x - mean) / std on pixels in [0, 1]."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _positive(self) -> Normalize:
        if min(self.std) <= 0:
            raise ValueError(f"std is {list(self.std)}; every component must be positive")
        return self


class Arch(Strict):
    """A network by name."""

    use: Literal["timm", "torchvision", "small"] = "timm"
    name: str
    options: dict[str, Any] = {}


class StudentConfig(Strict):
    """A network to be trained from scratch on the condensed data."""

    name: Name
    arch: Arch
