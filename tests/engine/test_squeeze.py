"""What squeeze says of the teachers that it made."""

from __future__ import annotations

import pytest

from raydc.config.stages.networks import Arch
from raydc.engine.squeeze import at_chance
from raydc.teachers.teacher import TeacherRecord


def taught(top1: float | None) -> TeacherRecord:
    return TeacherRecord(
        name="resnet", arch=Arch(name="resnet18"), normalize={}, outputs=10, image_size=32, sha256="0" * 64,
        origin="trained on digits", top1=top1,
    )  # fmt: skip


@pytest.mark.parametrize(("top1", "told"), [(0.11, True), (0.149, True), (0.15, False), (0.98, False), (None, False)])
def test_a_trained_teacher_that_only_guesses_is_told_of(top1: float | None, told: bool) -> None:
    said = at_chance(taught(top1), 10)
    assert (said is not None) == told
    if said is not None:
        assert f"puts {100 * (top1 or 0):.1f} %" in said and "chance 10.0 %" in said
