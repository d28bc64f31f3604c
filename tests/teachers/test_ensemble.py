"""Teachers that answer as one, and BatchNorm with the statistics of what is labelled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from raydc.config.stages.networks import Arch, Normalize
from raydc.config.stages.relabel import Ensemble
from raydc.errors import DataError
from raydc.keys import Key
from raydc.teachers.ensemble import Teachers
from raydc.teachers.networks import build
from raydc.teachers.teacher import Teacher, TeacherRecord

SMALL = Arch(use="small", name="resnet", options={"widths": [4], "blocks": [1]})
DROPPING = Arch(name="test_efficientnet", options={"drop_rate": 0.5})


def teacher(number: int, arch: Arch = SMALL, classes: int = 4, scale: float = 1.0) -> Teacher:
    module = build(arch, classes, 32, Key((number,))).eval().requires_grad_(False)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean += 0.1 * number
    with torch.no_grad():
        next(p for p in reversed(list(module.parameters())) if p.dim() > 1).mul_(scale)
    record = TeacherRecord(name=f"t{number}", arch=arch, normalize=Normalize(mean=(0.1 * number,) * 3),
                           outputs=classes, image_size=32, sha256="0" * 64, origin="a test")  # fmt: skip
    return Teacher(module, record)


def images(count: int) -> torch.Tensor:
    return torch.from_numpy(Key(("x", count)).uniform(count, 3, 32, 32)).float()


def ensemble(*teachers: Teacher, **settings: Any) -> Teachers:
    return Teachers(teachers, Ensemble(**{"combine": "mean", "batch": 6} | settings))


def state(one: Teacher) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in one.module.state_dict().items()}


def test_one_teacher_answers_as_without_an_ensemble() -> None:
    for combine in ("single", "mean"):
        found = ensemble(teacher(1), combine=combine).logits(images(14))
        expected = torch.cat(
            [teacher(1).logits(images(14)[part]) for part in (slice(0, 6), slice(6, 12), slice(12, 14))]
        )
        assert torch.equal(found, expected)


def test_the_mean_is_that_of_the_logits() -> None:
    pool, x = [teacher(1), teacher(2), teacher(3, DROPPING)], images(5)
    expected = sum(t.logits(x).double() for t in pool) / 3
    assert torch.allclose(ensemble(*pool).logits(x).double(), expected, atol=1e-6)


def test_equal_norms_are_those_of_the_batch() -> None:
    loud, x = teacher(2, scale=50.0), images(5)
    one, two = teacher(1).logits(x).double(), loud.logits(x).double()
    middle = (one.norm() + two.norm()) / 2
    expected = (one * middle / one.norm() + two * middle / two.norm()) / 2
    found = ensemble(teacher(1), loud, combine="norm_mean").logits(x).double()
    assert torch.allclose(found, expected, rtol=1e-5)
    assert not torch.allclose(found, ensemble(teacher(1), loud).logits(x).double(), rtol=1e-2)


@pytest.mark.parametrize("arch", [SMALL, DROPPING])
def test_batch_statistics_are_those_of_the_images_and_nothing_drifts(arch: Arch) -> None:
    one = teacher(1, arch)
    before, x = state(one), images(6)
    found = ensemble(one, norm="batch", combine="single").logits(x)
    assert all(torch.equal(value, before[name]) for name, value in state(one).items())
    assert torch.equal(found, ensemble(teacher(1, arch), norm="batch", combine="single").logits(x))  # dropout is off
    trained = teacher(1, arch)
    for layer in trained.module.modules():
        layer.training = isinstance(layer, nn.modules.batchnorm._BatchNorm)
    assert torch.allclose(found, trained.logits(x), atol=1e-5)
    assert not torch.allclose(found, teacher(1, arch).logits(x), atol=1e-2)
    mixed = ensemble(teacher(1, arch), norm="batch", combine="single").logits(x[[3, 0, 5, 1, 4, 2]])
    assert torch.allclose(mixed, found[[3, 0, 5, 1, 4, 2]], atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "count", "sizes"),
    [
        ({}, 14, [6, 6, 2]),
        ({}, 13, [6, 6, 1]),
        ({}, 3, [3]),
        ({"norm": "batch"}, 13, [6, 7]),
        ({"norm": "batch"}, 17, [8, 9]),
        ({"norm": "batch"}, 3, [3]),
        ({"combine": "norm_mean"}, 13, [6, 7]),
        ({"combine": "norm_mean"}, 1, [1]),
    ],
)
def test_a_small_rest_is_shared_out_where_it_would_change_answers(
    settings: dict[str, Any], count: int, sizes: list[int]
) -> None:
    pieces = ensemble(teacher(1), **settings).pieces(count)
    assert [p.stop - p.start for p in pieces] == sizes
    assert [i for p in pieces for i in range(p.start, p.stop)] == list(range(count))


def test_what_cannot_answer_is_refused() -> None:
    with pytest.raises(DataError, match="norm: batch needs at least 2 images at once, found 1"):
        ensemble(teacher(1), norm="batch").logits(images(1))
    with pytest.raises(DataError, match=r"same classes, found \{'t1': 4, 't2': 5\}"):
        ensemble(teacher(1), teacher(2, classes=5))
    with pytest.raises(ValueError, match="single takes one teacher"):
        Ensemble(names=["a", "b"])
    with pytest.raises(ValueError, match="names must differ"):
        Ensemble(names=["a", "a"], combine="mean")
