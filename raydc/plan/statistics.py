"""Which statistics of the real data a run needs, as the terms of its objective say."""

from __future__ import annotations

from dataclasses import dataclass

from raydc.config.axes.discrepancy import BNStatistics, ConvStatistics
from raydc.config.schema import RunConfig
from raydc.config.stages.synthesize import SynthesizeConfig

NUMBER_BYTES = {"fp32": 4, "fp16": 2}
"""Of a moment as it is stored."""


@dataclass(frozen=True)
class Needed:
    """What is to be collected, of each teacher of the pool that guides the pixels."""

    teachers: tuple[str, ...]
    bn: bool
    """At the BatchNorm inputs; those of all data stand in the teacher already, so only where classes are needed."""
    conv: bool
    """At the inputs of convolutions."""
    tile: int
    """Side of the tiles at convolutions; 0: none."""
    classes: bool
    """Of each class, beside those of all data. Where one term needs them, they are kept of all layers."""
    within: bool
    """With the mean of the variances within single images."""

    @property
    def rows(self) -> int:
        """Moments that are kept of every number: mean, variance, and the variance within images where it is needed."""
        return 3 if self.within else 2

    def bytes(self, width: int, classes: int, precision: str) -> int:
        """Bytes of a teacher's file.

        Args:
            width: channels and tiles of all its layers together.
            classes: size of the label space.
            precision: in which moments of classes are stored; those of all data are float32.
        """
        return self.rows * width * (4 + (classes * NUMBER_BYTES[precision] if self.classes else 0))


def needed(run: RunConfig) -> Needed | None:
    """What a run needs to know of its real data; None: no more than its teachers hold."""
    terms = [t for t in run.synthesize.objective if isinstance(t, BNStatistics | ConvStatistics) and t.weight]
    by_class = [t for t in terms if t.category]
    conv = next((t for t in terms if isinstance(t, ConvStatistics)), None)
    bn = any(isinstance(t, BNStatistics) for t in by_class)
    if not run.synthesize.steps or not (bn or conv):
        return None
    return Needed(
        teachers=tuple(run.guides),
        bn=bn,
        conv=conv is not None,
        tile=conv.tile if conv and "tile" in conv.by else 0,
        classes=bool(by_class),
        within=any(t.moment == "within_image" for t in by_class),
    )


def classes_of_block(synth: SynthesizeConfig, classes: int) -> int:
    """How many different classes a block holds at most, of so many that are synthesized."""
    size, ipc = synth.blocks.size, synth.ipc
    if synth.blocks.group == "within_class":
        return 1
    if synth.blocks.group == "across_classes":
        return min(size, classes)
    if size % ipc == 0 or ipc % size == 0:
        return min(max(1, size // ipc), classes)
    return min((size - 2) // ipc + 2, classes)
