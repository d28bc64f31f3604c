"""Adam on the pixels of a launch: torch's own update, without the ``Optimizer`` around it.

The first ``Optimizer`` of a process makes torch import its compiler, only to tell it to leave the optimiser alone: 1.3
seconds and 80 MB (a CPU, torch 2.15) of each worker that starts, unless it uses torchvision or timm, which do so too.
"""

from __future__ import annotations

import torch
from torch.optim.adam import adam

from raydc.config.axes.optimize import PixelAdam


class Adam:
    """The moments of one tensor, and the steps taken.

    Args:
        x: what is optimised; its gradient is where autograd leaves it.
        config: the decay of the moments, and epsilon.
    """

    def __init__(self, x: torch.Tensor, config: PixelAdam) -> None:
        self.x, self.config = x, config
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(x.detach()), torch.zeros_like(x.detach())
        # The fused update wants the counter on the device, and there is one on CUDA alone that is worth it.
        self.steps = torch.zeros((), device=x.device if x.is_cuda else None)
        self.lr: float | torch.Tensor = 0.0
        """The learning rate of the last step."""

    @torch.no_grad()
    def step(self, lr: float | torch.Tensor) -> None:
        """Take one step; none where nothing has left a gradient. A step that is recorded takes its rate as a tensor."""
        self.lr, (beta1, beta2) = lr, self.config.betas
        if self.x.grad is None:
            return
        adam(
            [self.x], [self.x.grad], [self.exp_avg], [self.exp_avg_sq], [], [self.steps], fused=self.x.is_cuda,
            capturable=self.x.is_cuda,
            amsgrad=False, beta1=beta1, beta2=beta2, lr=lr, weight_decay=0.0, eps=self.config.eps, maximize=False,
        )  # fmt: skip
