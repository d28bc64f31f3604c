"""First weights: normal, of variance 2 / fan-out (He et al. 2015), for convolutions that ReLUs follow."""

from __future__ import annotations

from torch import nn


def he_normal(network: nn.Module) -> None:
    """Draw all convolutions of a network anew, in the order of its modules; biases stay as they are."""
    for module in network.modules():
        # A skeleton has no weights to draw, and to pretend it torch would import its compiler.
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
