"""Every field of every component's record is read: another value, another result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from raydc.condense.augment import AUGMENTATIONS
from raydc.condense.discrepancy import DISCREPANCIES
from raydc.condense.initialize import INITIALIZERS
from raydc.condense.schedule import anneal
from raydc.config import components
from raydc.config.components import (
    Anneal,
    BNStatistics,
    CrossEntropy,
    CutMix,
    Flip,
    PixelAdam,
    ResizedCrop,
    Roll,
    Views,
)
from raydc.keys import Key
from raydc.labels import views
from tests.condense.test_synthesize import config, go_on, synthesis

KEY = Key((0, "component"))
ANNEAL = {"from": 0.9, "to": 0.1, "shape": "cosine", "milestone": 0.9}


def drawn(record: Any) -> np.ndarray:
    """Forty draws of an augmentation for a batch of five."""
    draws = [AUGMENTATIONS[record.use].draw(record, KEY.child(i), 5, (32, 32), 3, 10).ravel() for i in range(40)]
    return np.concatenate(draws)


def optimised(**settings: Any) -> np.ndarray:
    made = synthesis(config(steps=3, augment=[], **settings))
    made.run(go_on)
    return made.x.detach().numpy()


def objective(record: Any) -> np.ndarray:
    other = {"use": "cross_entropy"} if record.use == "bn_statistics" else {"use": "bn_statistics"}
    return optimised(objective=[record.model_dump(), other])


def viewed(record: Views) -> np.ndarray:
    return views.draw(KEY, 40, 32, 32, 32, record)


CASES: list[tuple[type, dict[str, Any], dict[str, Any], Callable[[Any], np.ndarray]]] = [
    (
        Anneal,
        ANNEAL,
        {"from": 0.8, "to": 0.2, "shape": "linear", "milestone": 0.5},
        lambda r: np.array(anneal(r, 3, 10)),
    ),
    (ResizedCrop, {}, {"min_scale": 0.5, "ratio": (0.5, 2.0), "shared": False}, drawn),
    (Flip, {}, {"p": 0.9, "shared": False}, drawn),
    (Roll, {"min_offset": 0, "max_offset": 4}, {"min_offset": -4, "max_offset": 8}, drawn),
    (CrossEntropy, {}, {"weight": 2.0}, objective),
    (BNStatistics, {}, {"weight": 0.5, "first_multiplier": 1.0}, objective),
    (
        PixelAdam,
        {"lr": 0.1},
        {"lr": 0.2, "betas": (0.9, 0.99), "eps": 1e-2},
        lambda r: optimised(optimizer=r.model_dump()),
    ),
    (
        Views,
        {},
        {"min_scale": 0.5, "max_scale": 0.6, "ratio": (0.5, 2.0), "flip": 0.0, "mix": {"use": "cutmix"}},
        viewed,
    ),
    (CutMix, {}, {"alpha": 0.2}, lambda r: viewed(Views(mix=r))),
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
        names = {f.alias or name for name, f in cls.model_fields.items()} - {"use"}
        assert set(changes) == names, cls.__name__
    elsewhere = {"Strict", "Noise", "Real", "Sgd", "AdamW"}
    records = {n for n, c in vars(components).items() if isinstance(c, type) and issubclass(c, components.Strict)}
    assert records == {cls.__name__ for cls, *_ in CASES} | elsewhere


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
        (components.Initialize, INITIALIZERS),
        (components.Augment, AUGMENTATIONS),
        (components.Discrepancy, DISCREPANCIES),
    ],
    ids=["initialize", "augment", "discrepancy"],
)
def test_a_configuration_can_name_what_the_tables_hold_and_no_more(union: Any, table: dict[str, Any]) -> None:
    assert names(union) == set(table)
