"""BatchNorm over the rows of all data-parallel ranks: they train as one worker would that had all rows.

mean = sum_r n_r m_r / n and var = sum_r n_r (v_r + (m_r - mean)^2) / n, of the ranks' own moments m_r, v_r over n_r
values of a channel; ranks may have unequal numbers of rows. Backward, with g the gradient of the output and xhat the
normalised input: dx = w / sqrt(var + eps) (g - mean(g) - xhat mean(g xhat)), both means over the rows of all ranks.
Running statistics take mean and var n / (n - 1), as one worker's do. Source: Ioffe and Szegedy 2015, section 3;
``torch.nn.SyncBatchNorm`` does the same, on GPUs alone. Sums are rounded otherwise than one worker's.

Any layer that calls ``torch.nn.functional.batch_norm`` is covered (timm's with an activation inside, too), and the
network keeps its modules and the names of its weights. Other layers that look at several rows at once are not covered,
and dropout is drawn by each rank for its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import distributed
from torch.overrides import TorchFunctionMode


class Together(TorchFunctionMode):
    """While it is entered, BatchNorm in training mode has the statistics of all ranks; every rank must enter it."""

    def __init__(self, group: distributed.ProcessGroup, counted: bool = True) -> None:
        """Prepare.

        Args:
            group: of the ranks.
            counted: False on a rank that has no row of this batch and lends one: it adds nothing to the statistics.
        """
        super().__init__()
        self._group, self._counted = group, counted

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """Take the place of one function and let all others pass."""
        if func is F.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        x: torch.Tensor,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> torch.Tensor:
        """Stand for ``torch.nn.functional.batch_norm``, whose arguments these are."""
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
        mean, var, count = moments(x.detach(), self._group, self._counted)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)
        x = x if self._counted else _Lent.apply(x)
        moved = (mean.to(x.dtype), var.to(x.dtype), count.to(x.dtype))
        return _Normalized.apply(x, weight, bias, *moved, eps, self._group)  # type: ignore[no-any-return]


def moments(
    x: torch.Tensor, group: distributed.ProcessGroup, counted: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean and biased variance of each channel over all ranks, ``[C]``, and the number of its values; all float64.

    Args:
        x: of this rank, ``[B, C, ...]``.
        group: of the ranks.
        counted: whether this rank's rows count.
    """
    channels = x.shape[1]
    # Twice over the values, which is exact, and on a CPU four times as fast as `torch.var_mean`.
    mean = x.mean(_others(x))
    var = (x - mean.view(1, -1, *[1] * (x.dim() - 2))).square_().mean(_others(x))
    count = torch.full((1,), x.numel() // channels if counted else 0, dtype=torch.float64, device=x.device)
    mine = torch.cat([mean.double(), var.double(), count])
    parts = [torch.empty_like(mine) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(parts, mine, group=group)
    whole = torch.stack(parts)
    means, variances, counts = whole[:, :channels], whole[:, channels:-1], whole[:, -1:]
    total = counts.sum()  # stays on the device: reading it would wait there
    mean = (counts * means).sum(0) / total
    return mean, (counts * (variances + (means - mean).square())).sum(0) / total, total


def _others(x: torch.Tensor) -> list[int]:
    """The axes that are summed over: all but that of the channels."""
    return [0, *range(2, x.dim())]


class _Normalized(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) w + b, where mean and var are functions of the x of all ranks."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, mean: torch.Tensor,
        var: torch.Tensor, count: torch.Tensor, eps: float, group: distributed.ProcessGroup,
    ) -> torch.Tensor:  # fmt: skip
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps), count)
        ctx.group = group
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        x, weight, mean, inverse, count = ctx.saved_tensors
        shape = (1, -1, *[1] * (x.dim() - 2))
        mean, inverse = mean.view(shape), inverse.view(shape)
        g, axes = gradients[0], _others(x)
        xhat = (x - mean) * inverse
        sums = torch.stack([g.sum(axes), (g * xhat).sum(axes)])
        own = sums.clone()
        distributed.all_reduce(sums, group=ctx.group)
        of_g, of_both = (sums / count).view(2, *shape).unbind()
        scale = inverse if weight is None else inverse * weight.view(shape)
        dx = (g - of_g - xhat * of_both) * scale
        dw, db = (own[1], own[0]) if weight is not None else (None, None)
        return dx, dw, db, None, None, None, None, None


class _Lent(torch.autograd.Function):
    """The same numbers; no gradient, for the rows of a rank that lends them are in no sum."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(gradients[0])
