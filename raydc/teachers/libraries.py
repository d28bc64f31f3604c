"""The libraries that networks come from; each is imported when its first network is asked for.

torchvision and timm together take 1.5 seconds and 200 MB of a process (measured on a CPU, torch 2.15), and there are
many processes; a run needs one of them, or none.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from raydc.config.stages.networks import Arch
from raydc.teachers.small import SMALL


class Library(Protocol):
    """Makes networks by name."""

    def names(self) -> list[str]:
        """The names to choose from."""

    def knows(self, name: str) -> bool:
        """Whether a network has this name; also where the name carries more than is listed."""

    def make(self, arch: Arch, classes: int, image_size: int) -> nn.Module:
        """Build a network with fresh weights; refusals as the library words them."""


class Timm:
    """pytorch-image-models."""

    def names(self) -> list[str]:
        """All architectures, without tags of weights."""
        import timm

        return list(timm.list_models())

    def knows(self, name: str) -> bool:
        """Names with a tag are known too."""
        import timm

        return bool(timm.is_model(name))

    def make(self, arch: Arch, classes: int, image_size: int) -> nn.Module:
        """Build by ``timm.create_model``; ``image_size`` is left to the options (``img_size``)."""
        import timm

        return timm.create_model(arch.name, pretrained=False, num_classes=classes, **arch.options)


class Torchvision:
    """torchvision's classification networks."""

    def names(self) -> list[str]:
        """Those of ``torchvision.models`` itself: no detection, segmentation or video."""
        from torchvision import models

        return list(models.list_models(module=models))

    def knows(self, name: str) -> bool:
        """Whether it is listed."""
        return name in self.names()

    def make(self, arch: Arch, classes: int, image_size: int) -> nn.Module:
        """Build by ``torchvision.models.get_model``."""
        from torchvision import models

        return models.get_model(arch.name, weights=None, num_classes=classes, **arch.options)


class Small:
    """raydc's own, for small images."""

    def names(self) -> list[str]:
        """All of them."""
        return list(SMALL)

    def knows(self, name: str) -> bool:
        """Whether it is listed."""
        return name in SMALL

    def make(self, arch: Arch, classes: int, image_size: int) -> nn.Module:
        """Build for the image size."""
        options: dict[str, Any] = arch.options
        return SMALL[arch.name](classes=classes, image_size=image_size, **options)


LIBRARIES: dict[str, Library] = {"timm": Timm(), "torchvision": Torchvision(), "small": Small()}
"""By the ``use`` of an architecture."""
