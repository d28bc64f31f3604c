"""Networks by name: architecture only, never weights from elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from raydc.config.stages.networks import Arch
from raydc.errors import ConfigError, nearest
from raydc.keys import Key
from raydc.teachers.ambient import seeded
from raydc.teachers.libraries import LIBRARIES

REPLACED = Key(("initial weights", "replaced by loaded ones"))
"""The key of networks whose first weights nobody will see; construction must not touch the global generator."""


def build(arch: Arch, classes: int, image_size: int, key: Key | None = None) -> nn.Module:
    """Build a network with fresh weights on the CPU.

    Args:
        arch: library, name and options of the network.
        classes: outputs of the head.
        image_size: side of its input in pixels.
        key: names the initial weights; None where they will be replaced by loaded ones.

    Raises:
        ConfigError: unknown name or option, or the network cannot take images of this size.
    """
    network = construct(arch, classes, image_size, key or REPLACED)
    _try(network, arch, classes, image_size)
    return network


def skeleton(arch: Arch, classes: int, image_size: int) -> nn.Module:
    """Build a network on the meta device: shapes only, no memory; for weights that are assigned at once."""
    with torch.device("meta"):
        return construct(arch, classes, image_size, REPLACED)


def check(arch: Arch, classes: int, image_size: int) -> None:
    """Refuse what :func:`build` refuses, in moments: shapes are followed on the meta device, nothing is computed.

    The small networks are built: to follow a BatchNorm there torch imports its compiler, which takes longer.
    """
    if arch.use == "small":
        build(arch, classes, image_size)
        return
    try:
        _try(skeleton(arch, classes, image_size), arch, classes, image_size, torch.device("meta"))
    except ConfigError:
        build(arch, classes, image_size)  # some operations exist on real devices alone: only a real refusal counts


def construct(arch: Arch, classes: int, image_size: int, key: Key) -> nn.Module:
    """Build a network on torch's current default device, without trying it. Errors of names as in :func:`build`."""
    library = LIBRARIES[arch.use]
    if not library.knows(arch.name):
        names = library.names()
        listed = f" (known: {', '.join(names)})" if len(names) < 20 else ""
        raise ConfigError(f"{arch.use} has no network '{arch.name}'{nearest(arch.name, names)}{listed}")
    try:
        with seeded(key):
            return library.make(arch, classes, image_size)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"{arch.use} network '{arch.name}' refuses the options {arch.options}: {error}") from error


def _try(
    network: nn.Module, arch: Arch, classes: int, image_size: int, device: torch.device = torch.device("cpu")
) -> None:
    """Show the network one black image: the only size rule that holds for every library."""
    was_training = network.training
    found: Any = "no answer"
    try:
        with torch.no_grad():
            out = network.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
        found = list(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"{arch.use} network '{arch.name}' cannot take images of {image_size}x{image_size} pixels: "
            f"{str(error).rstrip('.')}. "
            "Raise data.image_size, or give the network an option for this size (timm: img_size)"
        ) from error
    finally:
        network.train(was_training)
    if found != [1, classes]:
        raise ConfigError(f"{arch.use} network '{arch.name}' answers an image with {found}, expected [1, {classes}]")
