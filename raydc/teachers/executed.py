"""A teacher that only answers, by some execution: folded, channels last, in 16 bits, by kernels of a compiler."""

from __future__ import annotations

import torch

from raydc.condense.execution import compiled, explicit, folded
from raydc.condense.observer import DTYPES
from raydc.config.axes.execution import Execution
from raydc.teachers.teacher import Teacher


class Executed:
    """A copy of a teacher's network, made ready; the teacher itself stays eager and in fp32."""

    def __init__(self, teacher: Teacher, execution: Execution, batch: int, alone: bool) -> None:
        """Take a copy.

        Args:
            teacher: frozen.
            execution: how to run it; eagerly in fp32 too it is folded.
            batch: images that are answered at once, where there are as many.
            alone: whether each image is answered by itself: BatchNorm's statistics are constants, and folded, and a
                batch may be filled up. Otherwise the network is as it is, and so is the batch.
        """
        self._teacher, self._batch = teacher, batch
        self._fills = alone and execution.how != "eager"
        self._dtype = DTYPES.get(execution.precision)
        network = folded(teacher.module) if alone else teacher.module
        self._network = explicit(network, self._dtype, rearranged=True)
        self._run = self._pass if execution.how == "eager" else compiled(self._pass)

    def logits(self, x01: torch.Tensor) -> torch.Tensor:
        """Answer pixels in [0, 1], float ``[B, 3, H, W]``: float32 ``[B, classes]`` in the data set's order.

        A compiler makes kernels for one shape. A smaller last batch is filled up with its own images to the next power
        of two, so that there are a handful of versions whatever the shards, and a shard of few images costs at most
        twice; which one it is depends on the batch alone.
        """
        count = len(x01)
        if not self._fills or count >= self._batch:
            return self._run(x01)
        rows = torch.arange(min(self._batch, 1 << (count - 1).bit_length()), device=x01.device) % count
        return self._run(x01[rows])[:count]

    def _pass(self, x01: torch.Tensor) -> torch.Tensor:
        x = self._teacher.normalize(x01).to(self._dtype or torch.float32, memory_format=torch.channels_last)
        return self._teacher.pick(self._network(x))
