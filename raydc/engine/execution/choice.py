"""A choice among executions: each is tried on a worker, held against the eager one in fp32, and timed.

The fastest that passes is taken, its compilation counted in. 16 bits are not always it: on a CPU of 2024 a compiled
step was 1.7 times as fast in bf16 as in fp32 with ResNet-18, and 0.7 times with EfficientNet-Lite0. A trial costs what
its compilations cost, so it ends where another one could not be made up for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, Protocol, TypeVar

import torch

from raydc.config.axes.execution import EAGER, EXECUTIONS, Execution

SOON_SECONDS = 60.0
"""Of eager work in all, within which no compiler is done."""
MOST_GAIN = 0.5
"""The share of the time that another execution may be hoped to save."""
Way = TypeVar("Way")
Row = dict[str, Any]
"""``name``, and either ``first_s`` until the first answer, ``step_s`` of each further step and ``eager_s`` of the eager
one beside it, ``passed`` and what was held against the eager answer, or ``error``."""


class Trial(Protocol):
    """What is done in several ways."""

    def timed(self) -> float:
        """Seconds of an eager step, by itself."""

    def compared(self, execution: Execution) -> Row:
        """Another: its answers against the eager ones, and its pace. Whatever it raises means: not this one."""

    def verdict(self, row: Row) -> str:
        """How near its answers are, as in ``gradient cosine 0.962``."""


def chosen(trial: Trial, candidates: list[str], steps: float) -> dict[str, Any]:
    """Try executions, as long as another one may pay.

    Args:
        trial: on this worker.
        candidates: in the order in which they are tried.
        steps: that each worker takes.

    Returns:
        ``chosen``, ``why`` and what was ``tried``, a row each.
    """
    alone = trial.timed()
    base: Row = {"name": EAGER.name, "first_s": 0.0, "step_s": alone, "eager_s": alone}
    rows, best, whole = [base], base, alone * steps
    if whole < SOON_SECONDS:
        why = f"{whole:.0f} s a worker, which no compiler makes up for"
        return {"chosen": EAGER.name, "why": why, "tried": rows}
    for name in candidates:
        if _compiling(rows) > MOST_GAIN * whole / _gain(best):
            break
        rows.append(_attempt(trial, EXECUTIONS[name]))
        if rows[-1].get("passed") and _seconds(rows[-1], whole) < _seconds(best, whole):
            best = rows[-1]
    if best is base:
        said = "; ".join(f"{row['name']} {_said(trial, row)}" for row in rows[1:])
        return {"chosen": EAGER.name, "why": said, "tried": rows}
    why = f"{_gain(best):.1f} times as fast as eager, {trial.verdict(best)}"
    return {"chosen": best["name"], "why": why, "tried": rows}


def in_turns(turns: int, pace: Callable[[Way], float], *ways: Way) -> list[float]:
    """The pace of each way, the median of so many turns: what else a machine does hits all alike."""
    return [median(paces) for paces in zip(*([pace(way) for way in ways] for _ in range(turns)), strict=True)]


def _seconds(row: Row, whole: float) -> float:
    """Of all steps that take so long eagerly."""
    return float(row["first_s"] + whole / _gain(row))


def _gain(row: Row) -> float:
    """How many times as fast as the eager step beside it."""
    return float(row["eager_s"] / row["step_s"])


def _compiling(rows: list[Row]) -> float:
    """What the next compilation may take: as long as the longest so far."""
    return max(row.get("first_s", 0.0) for row in rows)


def _attempt(trial: Trial, execution: Execution) -> Row:
    """What goes wrong is told and not raised."""
    try:
        return trial.compared(execution)
    except Exception as error:  # a compiler fails in many ways; all of them mean: not this one
        said = str(error).strip().splitlines() or [""]
        return {"name": execution.name, "error": f"{type(error).__name__}: {said[0][:200]}"}


def _said(trial: Trial, row: Row) -> str:
    if "error" in row:
        return f"failed ({row['error']})"
    if not row["passed"]:
        return f"has {trial.verdict(row)}"
    return f"takes {row['step_s']:.3g} s a step (eager {row['eager_s']:.3g}) after {row['first_s']:.0f} s"


class Watch:
    """Seconds until now, of all that the device was asked for."""

    def __init__(self, device_type: str) -> None:
        self._cuda = device_type == "cuda"
        self._began = self._now()

    def seconds(self) -> float:
        """Since the start."""
        return self._now() - self._began

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()
