"""Initialize: where the first pixels come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raydc.config.base import Fraction, Name, Positive, Strict


class Noise(Strict):
    """Standard normal noise in the normalised space of the teacher."""

    use: Literal["noise"]

    def least(self, ipc: int) -> int:
        """How many real images a class must have for so many pictures."""
        return 0


class Real(Strict):
    """Real images of the class, drawn without replacement."""

    use: Literal["real"]

    def least(self, ipc: int) -> int:
        """How many real images a class must have for so many pictures."""
        return ipc


class Mosaic(Strict):
    """Grids of the crops that a teacher is surest of."""

    use: Literal["mosaic"]
    factor: Positive = 2
    """Cells along a side; 1 is one crop a picture."""
    candidates: Positive = 300
    """Real images looked at of each class."""
    crops: Positive = 5
    """Crops tried of each of them; the best one may enter."""
    min_scale: Fraction = 0.08
    teacher: Name | None = None
    """Who scores; absent: the first teacher of the synthesis."""

    def least(self, ipc: int) -> int:
        """How many real images a class must have for so many pictures."""
        return ipc * self.factor**2


class Confidence(Strict):
    """Whole real images in the order of a teacher's confidence in their class."""

    use: Literal["confidence"]
    order: Literal["median", "highest", "lowest"] = "median"
    """``median``: outward from the middle, so the first image of a class is the most middling one."""
    teacher: Name | None = None
    """Who scores; absent: the first teacher of the synthesis."""

    def least(self, ipc: int) -> int:
        """How many real images a class must have for so many pictures."""
        return ipc


Initialize = Annotated[Noise | Real | Mosaic | Confidence, Field(discriminator="use")]
