"""Schedules against the numbers of the papers, and against torch's own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from raydc.config.axes.optimize import Schedule, Sgd, Training
from raydc.teachers.schedule import SCHEDULES, by_steps, rate

READ: TypeAdapter[Schedule] = TypeAdapter(Schedule)


def share(at: float, total: int = 300, warmup: int = 0, **schedule: Any) -> float:
    return rate(READ.validate_python(schedule), warmup, at, total)


@pytest.mark.parametrize(
    ("schedule", "at", "expected"),
    [
        ({"use": "cosine"}, 0, 1.0),
        ({"use": "cosine"}, 150, 0.5),
        ({"use": "cosine"}, 300, 0.0),
        ({"use": "cosine", "zeta": 1.5}, 300, 0.25),
        ({"use": "cosine", "zeta": 2.0}, 150, 0.854),
        ({"use": "cosine", "zeta": 2.0}, 300, 0.5),
        ({"use": "ssrs"}, 250, 0.629),
        ({"use": "ssrs"}, 250 + 1e-6, 0.105),
        ({"use": "ssrs"}, 275, 0.0524),
        ({"use": "ssrs"}, 300, 0.0),
        ({"use": "linear", "zeta": 2.0}, 150, 0.75),
        ({"use": "linear", "zeta": 2.0}, 300, 0.5),
        ({"use": "constant"}, 299, 1.0),
        ({"use": "one_cycle"}, 0, 0.05),
        ({"use": "one_cycle"}, 30, 1.0),
        ({"use": "one_cycle"}, 165, 0.5),
        ({"use": "one_cycle"}, 300, 5e-6),
    ],
)
def test_golden_numbers(schedule: dict[str, Any], at: float, expected: float) -> None:
    assert share(at, **schedule) == pytest.approx(expected, abs=5e-4 if expected > 1e-3 else 1e-9)


def test_milestones_are_passed_at_their_epoch() -> None:
    edc = {"use": "multistep", "milestones": [0.8, 0.9, 0.95], "factor": 0.5}
    found = {at: share(at, 1000, **edc) for at in (0, 799, 800, 899, 900, 949, 950, 999)}
    assert found == {0: 1, 799: 1, 800: 0.5, 899: 0.5, 900: 0.25, 949: 0.25, 950: 0.125, 999: 0.125}
    assert [share(at, 100, use="multistep", milestones=[0.07, 0.57]) for at in (6, 7, 56, 57)] == [1, 0.5, 0.5, 0.25]


def test_warm_up_and_the_cosine_after_it_are_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=5)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=45)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], [5])
    for epoch in range(50):
        assert share(epoch, 50, 5, use="cosine") == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        optimizer.step()
        both.step()


def test_one_cycle_is_torchs_where_there_are_many_steps() -> None:
    steps = 5000
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=steps, pct_start=0.1, div_factor=20, cycle_momentum=False
    )
    for step in range(steps - 1):
        assert share(step * 8 / steps, 8, use="one_cycle") == pytest.approx(theirs.get_last_lr()[0], abs=2e-3)
        optimizer.step()
        theirs.step()


def test_every_schedule_can_be_named_and_only_one_moves_by_steps() -> None:
    made = {name: READ.validate_python({"use": name, **({"milestones": [0.5]} if name == "multistep" else {})})
            for name in SCHEDULES}  # fmt: skip
    assert [name for name, schedule in made.items() if by_steps(schedule)] == ["one_cycle"]
    assert all(0 <= rate(schedule, 2, at, 9) <= 1 for schedule in made.values() for at in range(9))
    assert math.isclose(rate(made["cosine"], 3, 0, 9), 0.01)


def test_a_warm_up_leaves_epochs_to_the_schedule() -> None:
    with pytest.raises(ValidationError, match="warmup is 5 of 5 epochs"):
        Training(epochs=5, warmup=5, optimizer=Sgd(use="sgd", lr=0.1))
