"""Which of several ways is taken, by rows as trials make them."""

from __future__ import annotations

from typing import Any

import pytest

from raydc.config.axes.execution import Execution
from raydc.engine.execution.choice import Row, chosen


class Told:
    """A trial of which all is known beforehand: seconds until the first answer, and of a step."""

    def __init__(self, **ways: tuple[float, float]) -> None:
        self.ways = ways

    def timed(self) -> float:
        return 1.0

    def compared(self, execution: Execution) -> Row:
        first, step = self.ways[execution.name.replace("-", "_")]
        busy = 7.0  # something else began on the machine: all steps take longer, not these alone
        return {"name": execution.name, "first_s": first, "step_s": step * busy, "eager_s": busy, "passed": step > 0}

    def verdict(self, row: Row) -> str:
        return "as told"


CANDIDATES = ["compiled", "compiled-bf16"]


@pytest.mark.parametrize(
    ("steps", "bf16", "expected", "tried"),
    [
        (10_000, (60.0, 0.2), "compiled-bf16", 3),
        (10_000, (60.0, 0.8), "compiled", 3),  # 16 bits are slower here
        (10_000, (60.0, -1.0), "compiled", 3),  # or not the same
        (10_000, (6e3, 0.3), "compiled", 3),  # or take too long to compile
        (200, (60.0, 0.1), "compiled", 2),  # 100 s are left: another minute would not come back
        (100, (60.0, 0.1), "eager", 2),
        (59, (60.0, 0.1), "eager", 1),
    ],
)
def test_the_least_time_in_all_and_no_trial_that_cannot_pay(
    steps: float, bf16: tuple[float, float], expected: str, tried: int
) -> None:
    found: dict[str, Any] = chosen(Told(compiled=(60.0, 0.5), compiled_bf16=bf16), CANDIDATES, steps)
    assert found["chosen"] == expected and len(found["tried"]) == tried
    if expected != "eager":
        assert found["why"].endswith("times as fast as eager, as told")
