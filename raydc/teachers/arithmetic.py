"""How a training step is computed: operation by operation or compiled, its products in 32 or 16 bits.

Weights, their gradients, optimiser, loss and BatchNorm's sums are fp32 in every execution: torch's autocast rounds what
goes into convolutions and matrix products, and nothing else. Gradients of fp16 would vanish below 6e-8 and are scaled;
a step whose scaled gradients overflow changes no weight, and halves the scale, as in torch's GradScaler.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from raydc.condense.execution import compiled
from raydc.condense.observer import DTYPES
from raydc.config.axes.execution import Execution


class Arithmetic:
    """The execution of one network's training steps."""

    def __init__(self, network: nn.Module, execution: Execution, device: torch.device) -> None:
        self._kind, self._dtype = device.type, DTYPES.get(execution.precision)
        self._scaler = torch.amp.GradScaler(device.type, enabled=execution.precision == "fp16")
        self.forward: Callable[[torch.Tensor], torch.Tensor] = network
        """In training mode; one version is compiled for each size of a batch."""
        if execution.how != "eager":
            self.forward = compiled(lambda x: network(x))

    def rounding(self) -> AbstractContextManager[Any]:
        """Around the forward pass."""
        return nullcontext() if self._dtype is None else torch.autocast(self._kind, self._dtype)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss, scaled."""
        self._scaler.scale(loss).backward()

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Change the weights."""
        self._scaler.step(optimizer)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """What the next step depends on beside the weights, for JSON."""
        return {"scaler": self._scaler.state_dict()} if self._scaler.is_enabled() else {}

    def load_state(self, numbers: Any) -> None:
        """Go back to it."""
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(numbers["scaler"])
