"""Several teachers that answer as one: whose logits become labels.

single     the one teacher's logits. SRe2L ``relabel/generate_soft_label.py``
mean       z = mean_i z_i. G-VBSM on small data sets, EDC, FADRM ``relabel/relabel.py``
norm_mean  z = mean_i z_i (mean_j |Z_j|) / |Z_i|, |Z| over batch and classes: G-VBSM ImageNet-1k

``norm: batch``: BatchNorm uses the statistics of the images that are labelled together ("batch-specific soft labels",
CV-DD and FADRM). Unlike there, running statistics do not drift and dropout stays off, so a label depends on its batch
and on nothing else.

Default: single, running statistics. Not for: ``norm: batch`` with a handful of images, whose statistics are noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from raydc.config.axes.execution import EAGER, Execution
from raydc.config.stages.relabel import Ensemble
from raydc.errors import DataError
from raydc.teachers.executed import Executed
from raydc.teachers.teacher import Teacher

LEAST = 2
"""Images that BatchNorm can have statistics of."""


class Teachers:
    """The teachers of an ensemble, frozen, on one device, with one label space."""

    def __init__(self, teachers: Sequence[Teacher], config: Ensemble, execution: Execution = EAGER) -> None:
        """Take over ``teachers``; with ``norm: batch`` their BatchNorm layers are set to it.

        Args:
            teachers: frozen, on one device.
            config: how their logits become one row.
            execution: of their networks; but for the eager one in fp32, copies of them answer.

        Raises:
            DataError: they answer for different numbers of classes.
        """
        self.teachers, self._config, self.execution = list(teachers), config, execution
        counts = {t.record.name: t.record.classes for t in teachers}
        if len(set(counts.values())) != 1:
            raise DataError(f"the labelling teachers must answer for the same classes, found {counts}")
        self.classes = teachers[0].record.classes
        self.together = config.together
        """Whether an answer depends on which images are answered with it."""
        if config.norm == "batch":
            for teacher in teachers:
                use_batch_statistics(teacher.module)
        self._answering: Sequence[Teacher | Executed] = self.teachers
        if execution != EAGER:
            self._answering = [Executed(t, execution, config.batch, config.norm == "running") for t in teachers]

    @property
    def plain(self) -> Teachers:
        """The same teachers, eager and in fp32: what an execution is held against."""
        return self if self.execution == EAGER else Teachers(self.teachers, self._config)

    def pieces(self, count: int) -> list[slice]:
        """Which of ``count`` images the teachers see at once: ``batch`` of them, and the rest.

        Where the batch is part of the answer, the rest is shared out among the others: a small one would be answered
        otherwise.

        Raises:
            DataError: a single image, of which there are no statistics.
        """
        if self._config.norm == "batch" and count < LEAST:
            raise DataError(
                f"relabel.teachers.norm: batch needs at least {LEAST} images at once, found {count}. Choose another "
                "pack.shard_size or evaluate.batch, or norm: running"
            )
        cuts = list(range(0, count, self._config.batch))
        if self.together:
            parts = max(1, count // self._config.batch)
            cuts = [count * part // parts for part in range(parts)]
        return [slice(begin, end) for begin, end in zip(cuts, [*cuts[1:], count], strict=True)]

    def logits(self, x01: torch.Tensor) -> torch.Tensor:
        """Answer pixels in [0, 1], float ``[B, 3, H, W]``, piece by piece: float32 ``[B, classes]``."""
        return torch.cat([self.answer(x01[piece]) for piece in self.pieces(len(x01))])

    def answer(self, x01: torch.Tensor) -> torch.Tensor:
        """Answer images that are seen at once, float ``[B, 3, H, W]``: float32 ``[B, classes]``."""
        if len(self._answering) == 1:
            return self._answering[0].logits(x01)
        logits = torch.stack([teacher.logits(x01) for teacher in self._answering])
        if self._config.combine == "norm_mean":
            norms = logits.flatten(1).norm(dim=1)
            logits = logits * (norms.mean() / norms)[:, None, None]
        return logits.mean(0)


def use_batch_statistics(module: nn.Module) -> None:
    """Have every BatchNorm of a network use the statistics of its batch and leave its running ones as they are."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            # Of the two only `training` chooses the batch's statistics; without tracking the running ones stay.
            layer.training, layer.track_running_stats = True, False
