"""A teacher that only answers, by some execution: folded, channels last, in 16 bits, by kernels of a compiler."""

from __future__ import annotations

import torch

from raydc.condense.execution import compiled, explicit, folded
from raydc.condense.observer import DTYPES
from raydc.config.axes.execution import Execution
from raydc.teachers.teacher import Teacher

CPU_IMAGES = 16
"""Images that a CPU is given at once, so that what flows stays in its caches. ResNet-18 at 224 on one core, compiled,
takes ms an image with 8, 16, 32 and 64: bf16 9.4, 9.1, 9.8, 10.3; fp32 18.3, 19.7, 19.8, 21.4."""


class Executed:
    """A copy of a teacher's network, made ready; the teacher itself stays eager and in fp32."""

    def __init__(self, teacher: Teacher, execution: Execution, batch: int, alone: bool) -> None:
        """Take a copy.

        Args:
            teacher: frozen.
            execution: how to run it; eagerly in fp32 too it is folded.
            batch: images that are answered at once, at most.
            alone: whether each image is answered by itself: BatchNorm's statistics are constants, and folded, and a
                batch may be cut and filled up. Otherwise the network is as it is, and so is the batch.
        """
        self._teacher, self._alone = teacher, alone
        self._size = min(batch, CPU_IMAGES) if teacher.device.type == "cpu" else batch
        self._dtype = DTYPES.get(execution.precision)
        network = folded(teacher.module) if alone else teacher.module
        self._network = explicit(network, self._dtype, rearranged=True)
        self._run = self._pass if execution.how == "eager" else compiled(self._pass)

    def logits(self, x01: torch.Tensor) -> torch.Tensor:
        """Answer pixels in [0, 1], float ``[B, 3, H, W]``: float32 ``[B, classes]`` in the data set's order.

        A compiler makes kernels for one shape. So images go through in batches of one size, and the last is filled up
        with some of its own: one compilation a network, whatever the shards. Where the batch is part of the answer
        there is a version for each of its sizes, of which a run's shards have a few.
        """
        if not self._alone:
            return self._run(x01)
        return torch.cat([self._filled(part) for part in x01.split(self._size)])

    def _filled(self, x01: torch.Tensor) -> torch.Tensor:
        count = len(x01)
        if count == self._size:
            return self._run(x01)
        return self._run(x01[torch.arange(self._size, device=x01.device) % count])[:count]

    def _pass(self, x01: torch.Tensor) -> torch.Tensor:
        x = self._teacher.normalize(x01).to(self._dtype or torch.float32, memory_format=torch.channels_last)
        return self._teacher.pick(self._network(x))
