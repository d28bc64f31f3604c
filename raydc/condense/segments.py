"""Many short vectors as one long one: what would be a few kernels a layer is a few for all layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from raydc.condense.moments import wide


class Segments:
    """Where the layers lie in a vector of all of them."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        each = torch.tensor(lengths, dtype=torch.int64)
        self._owner = torch.repeat_interleave(each).to(device)  # a device would be asked how long the answer is
        self._lengths = each.to(device)

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """One value a layer ``[L]``, given to each of its elements ``[N]``."""
        return values[self._owner]

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of each layer: ``[N]`` to ``[L]``."""
        return torch.segment_reduce(wide(values), "sum", lengths=self._lengths, unsafe=True)

    def means(self, values: torch.Tensor) -> torch.Tensor:
        """The mean of each layer: ``[N]`` to ``[L]``."""
        return self.sums(values) / self._lengths

    def norms(self, values: torch.Tensor) -> torch.Tensor:
        """The Euclidean norm of each layer: ``[N]`` to ``[L]``. Its gradient at 0 is 0."""
        squares = self.sums(wide(values).square())
        roots = squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()
        return torch.where(squares > 0, roots, 0.0)
