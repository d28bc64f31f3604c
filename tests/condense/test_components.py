"""Every field of every component's record is read: another value, another result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from raydc.condense.augment import AUGMENTATIONS
from raydc.condense.discrepancy import DISCREPANCIES
from raydc.condense.group import Group
from raydc.condense.initialize import INITIALIZERS
from raydc.condense.schedule import anneal
from raydc.condense.synthesize import Synthesis
from raydc.config.axes import augment, discrepancy
from raydc.config.axes import views as view_records
from raydc.config.axes.augment import Dsa, Flip, PaddedCrop, PatchShuffle, ResizedCrop, Roll
from raydc.config.axes.discrepancy import (
    Average,
    BNStatistics,
    ConvStatistics,
    CrossEntropy,
    Densification,
    Flatness,
    Matching,
    PixelNorm,
    TotalVariation,
)
from raydc.config.axes.initialize import Initialize
from raydc.config.axes.optimize import PixelAdam
from raydc.config.axes.views import CutMix, MixUp, RandAugment, Views
from raydc.config.base import Anneal, Strict
from raydc.keys import Key
from raydc.labels import views
from tests.condense.nets import guided, invented, pixels
from tests.condense.test_synthesize import NETWORK, SPACE, config, go_on, synthesis

KEY = Key((0, "component"))
ANNEAL = {"from": 0.9, "to": 0.1, "shape": "cosine", "milestone": 0.9}


def drawn(record: Any) -> np.ndarray:
    """Forty draws of an augmentation for a batch of five."""
    draws = [AUGMENTATIONS[record.use].draw(record, KEY.child(i), 5, (32, 32), 3, 10) for i in range(40)]
    if record.use == "dsa":
        draws = [np.array([sum(map(ord, op)), *numbers], dtype=float) for op, numbers in draws]
    return np.concatenate([np.ravel(d) for d in draws])


def optimised(**settings: Any) -> np.ndarray:
    made = synthesis(config(steps=3, augment=[], **settings))
    made.run(go_on)
    return made.x.detach().numpy()


def objective(record: Any) -> np.ndarray:
    """Two images of each of two classes, after three steps with this term and another one."""
    other = {"use": "cross_entropy"} if record.use != "cross_entropy" else {"use": "bn_statistics"}
    settings = config(steps=3, augment=[], ipc=2, objective=[record.model_dump(), other])
    known = invented(NETWORK, 16, getattr(record, "tile", 4), 5)
    start = 0.1 * pixels(4, 16)
    made = Synthesis(
        settings, [guided(NETWORK, SPACE, known)], start, [Group([0, 0, 1, 1], [0, 1, 0, 1], Key((0, "b")))]
    )
    made.run(go_on)
    return made.x.detach().numpy()


def viewed(record: Views) -> np.ndarray:
    return views.draw(KEY, 40, 32, 32, 32, record)


MATCHING = {
    "weight": 0.5,
    "first_multiplier": 1.0,
    "reduction": "mean_l2",
    "average": {"decay": 0.5},
    "category": 0.2,
    "moment": "within_image",
}
CASES: list[tuple[type[Strict], dict[str, Any], dict[str, Any], Callable[[Any], np.ndarray]]] = [
    (
        Anneal,
        ANNEAL,
        {"from": 0.8, "to": 0.2, "shape": "linear", "milestone": 0.5},
        lambda r: np.array(anneal(r, 3, 10)),
    ),
    (ResizedCrop, {}, {"min_scale": 0.5, "ratio": (0.5, 2.0), "shared": False}, drawn),
    (PaddedCrop, {}, {"pad": 8, "shared": False}, drawn),
    (Flip, {}, {"p": 0.9, "shared": False}, drawn),
    (Roll, {"min_offset": 0, "max_offset": 4}, {"min_offset": -4, "max_offset": 8}, drawn),
    (PatchShuffle, {}, {"factor": 3, "shared": False}, drawn),
    (
        Dsa,
        {},
        {
            "ops": ["color", "crop"],
            "brightness": 0.5,
            "saturation": 1.0,
            "contrast": 0.2,
            "crop": 0.3,
            "cutout": 0.2,
            "flip": 0.9,
            "scale": 1.5,
            "rotate": 30.0,
        },
        drawn,
    ),
    (CrossEntropy, {}, {"weight": 2.0}, objective),
    (BNStatistics, {"category": 0.5}, MATCHING, objective),
    (
        ConvStatistics,
        {"category": 0.5, "tile": 4},
        {**MATCHING, "tile": 8, "by": ["channel"], "drop": 0.5},
        objective,
    ),
    (
        Average,
        {"decay": 0.5},
        {"decay": 0.8, "bias_correct": False},
        lambda r: objective(BNStatistics(use="bn_statistics", average=r)),
    ),
    (Densification, {"size": 16}, {"weight": 2.0, "temperature": 2.0, "size": 8, "scale": "mean"}, objective),
    (Flatness, {}, {"weight": 2.0, "decay": 0.5, "temperature": 1.0}, objective),
    (TotalVariation, {}, {"weight": 0.1}, objective),
    (PixelNorm, {}, {"weight": 0.1}, objective),
    (
        PixelAdam,
        {"lr": 0.1},
        {"lr": 0.2, "betas": (0.9, 0.99), "eps": 1e-2},
        lambda r: optimised(optimizer=r.model_dump()),
    ),
    (
        Views,
        {},
        {
            "min_scale": 0.5,
            "max_scale": 0.6,
            "ratio": (0.5, 2.0),
            "flip": 0.0,
            "shuffle": 2,
            "randaugment": {"ops": 2},
            "mix": {"use": "cutmix"},
        },
        viewed,
    ),
    (CutMix, {}, {"alpha": 0.2}, lambda r: viewed(Views(mix=r))),
    (MixUp, {}, {"alpha": 0.2}, lambda r: viewed(Views(mix=r))),
    (RandAugment, {}, {"ops": 1, "magnitude": 3, "p": 0.5}, lambda r: viewed(Views(randaugment=r))),
]


@pytest.mark.parametrize(
    ("record", "base", "field", "value", "result"),
    [(cls, base, field, value, result) for cls, base, changes, result in CASES for field, value in changes.items()],
    ids=[f"{cls.__name__}.{field}" for cls, _, changes, _ in CASES for field in changes],
)
def test_another_value_gives_another_result(
    record: type, base: dict[str, Any], field: str, value: Any, result: Callable[[Any], np.ndarray]
) -> None:
    tag = {"use": record.model_fields["use"].annotation.__args__[0]} if "use" in record.model_fields else {}
    before, after = (result(record.model_validate({**tag, **base, **change})) for change in ({}, {field: value}))
    assert before.shape != after.shape or not np.array_equal(before, after)


def test_every_field_is_among_the_cases() -> None:
    """A new field must be shown to matter. Optimisers of networks are tested where networks are trained."""
    for cls, _, changes, _ in CASES:
        fields = {f.alias or name for name, f in cls.model_fields.items()} - {"use"}
        assert set(changes) == fields, cls.__name__
    records = {
        c
        for module in (augment, discrepancy, view_records)
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Strict) and c.__module__ == module.__name__
    }
    assert {cls for cls, *_ in CASES} == records - {Matching} | {Anneal, PixelAdam}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 4),
        ("clamp", False),
        ("augment", [{"use": "roll", "min_offset": 1}]),
        ("objective", [{"use": "cross_entropy"}]),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_settings_of_the_loop_matter(field: str, value: Any) -> None:
    base = {"steps": 3, "augment": [], "optimizer": {"lr": 2.0}}
    results = []
    for settings in (base, {**base, field: value}):
        made = synthesis(config(**settings))
        made.run(go_on)
        results.append(made.x.detach())
    assert not torch.equal(*results)


def names(union: Any) -> set[str]:
    """The values of ``use`` that a discriminated union accepts."""
    members = union.__origin__.__args__
    return {tag for member in members for tag in member.model_fields["use"].annotation.__args__}


@pytest.mark.parametrize(
    ("union", "table"),
    [
        (Initialize, INITIALIZERS),
        (augment.Augment, AUGMENTATIONS),
        (discrepancy.Discrepancy, DISCREPANCIES),
    ],
    ids=["initialize", "augment", "discrepancy"],
)
def test_a_configuration_can_name_what_the_tables_hold_and_no_more(union: Any, table: dict[str, Any]) -> None:
    assert names(union) == set(table)
