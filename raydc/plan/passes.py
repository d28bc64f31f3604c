"""The passes over the real images before the first step: how many are looked at, and what teachers compute for it.

Selection: of each class ``min(candidates, its images) x crops`` forward passes of the teacher that scores (mosaic), or
one of every image (confidence). Statistics: ``passes`` of every training image by every teacher that they are of.
"""

from __future__ import annotations

from dataclasses import dataclass

from raydc.config.axes.initialize import Confidence, Mosaic
from raydc.config.schema import RunConfig
from raydc.plan.cost import Networks
from raydc.plan.statistics import needed

NOT_KNOWN = "the number of training images is known only from the data, where --calibrate counts them"


@dataclass(frozen=True)
class Pass:
    """What teachers look at without gradients."""

    images: int | None
    """Real images that are decoded; None where it hangs on their number, and that is not known."""
    looks: int | None
    """Forward passes of all teachers together."""
    each: float | None
    """FLOP of all looks at an image."""
    note: str
    """How they come about."""

    @property
    def flop(self) -> float | None:
        """FLOP in all."""
        return None if self.images is None or self.each is None else self.images * self.each

    def seconds(self, decode: float, a_flop: float | None, workers: int) -> float | None:
        """Seconds until so many workers are through, where images and operations take so many seconds each."""
        if self.images is None or self.flop is None or a_flop is None:
            return None
        return (self.images * decode + self.flop * a_flop) / workers


@dataclass(frozen=True)
class Passes:
    """Those of a run; None: it has no such pass."""

    selection: Pass | None = None
    statistics: Pass | None = None


def passes(run: RunConfig, classes: int, outputs: int, networks: Networks) -> Passes:
    """The passes of a run.

    Args:
        run: the run.
        classes: how many classes are synthesized.
        outputs: size of the label space.
        networks: what its networks take.
    """
    return Passes(_selection(run, classes, outputs, networks), _statistics(run, networks))


def _selection(run: RunConfig, classes: int, outputs: int, networks: Networks) -> Pass | None:
    start = run.synthesize.initialize
    if not isinstance(start, Mosaic | Confidence):
        return None
    name = start.teacher or networks.pool[0]
    of_class = None if networks.train_images is None else networks.train_images / outputs
    seen, crops = of_class, 1
    if isinstance(start, Mosaic):
        # Without their number it is the most that can be: exact wherever classes have that many images.
        seen, crops = min(start.candidates, of_class or start.candidates), start.crops
        most = "" if of_class else "; at most, for a class with fewer images is looked at whole"
        note = f"{classes:,} classes x {seen:,.4g} images x {crops} crops under {name}{most}"
    else:
        note = f"each image of {classes:,} classes under {name}" + ("" if of_class else f"; {NOT_KNOWN}")
    images = None if seen is None else round(classes * seen)
    forward = networks.forward.get(name)
    return Pass(images, None if images is None else images * crops, None if forward is None else crops * forward, note)


def _statistics(run: RunConfig, networks: Networks) -> Pass | None:
    wanted = needed(run)
    if wanted is None:
        return None
    names = [name for name in wanted.teachers if networks.statistics.get(name)]
    known = [networks.forward[name] for name in names if name in networks.forward]
    turns, count = run.squeeze.statistics.passes, networks.train_images
    images = None if count is None else turns * count
    of = "all images" if count is None else f"{count:,} images"
    note = f"{of}{f' x {turns} passes' if turns > 1 else ''} x {len(names)} teacher{'s' if len(names) > 1 else ''}"
    return Pass(
        images,
        None if images is None else images * len(names),
        sum(known) if len(known) == len(names) else None,
        note if count is not None else f"{note}; {NOT_KNOWN}",
    )
