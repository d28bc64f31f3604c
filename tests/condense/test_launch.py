"""Several blocks in one launch: each is what it would be alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from raydc.condense.group import Group
from raydc.condense.guide import Guide
from raydc.condense.synthesize import Synthesis
from raydc.config.axes.execution import EXECUTIONS
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.keys import Key
from tests.condense.nets import PLAIN, TinyMobile, TinyResNet, frozen, invented, pixels

LABELS = [[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 0, 0]]
INDICES = [0, 1, 0, 1]
OBJECTIVE = [
    {"use": "cross_entropy"},
    {"use": "bn_statistics", "weight": 0.05, "category": 0.5, "average": {"decay": 0.8}},
    {"use": "conv_statistics", "weight": 0.05, "tile": 4, "drop": 0.3, "average": {"decay": 0.7}},
    {"use": "densification", "weight": 0.1, "size": 3, "scale": "mean"},
    {"use": "flatness", "decay": 0.9},
    {"use": "total_variation", "weight": 0.01},
    {"use": "pixel_norm", "weight": 0.01},
]
AUGMENT = [
    {"use": "resized_crop"},
    {"use": "flip", "shared": False},
    {"use": "roll", "max_offset": 2},
]
RECORDABLE = [term for term in OBJECTIVE if term["use"] != "densification"]


def launch(which: list[int], execution: str = "eager", **changes: Any) -> Synthesis:
    """These of the three blocks, in fp64, so that what rounding does stays far below what a mistake would do."""
    settings = SynthesizeConfig.model_validate(
        {
            "ipc": 2, "steps": 6, "initialize": {"use": "noise"}, "blocks": {"group": "class_major"}, "log_every": 1,
            "teachers": {"sampling": "round_robin"}, "objective": OBJECTIVE, "augment": AUGMENT, **changes,
        }
    )  # fmt: skip
    kinds: list[type[nn.Module]] = [TinyResNet, TinyMobile]
    networks = [frozen(kind(), f"net {n}").double() for n, kind in enumerate(kinds)]
    guides = [Guide(n, lambda z: z, PLAIN, invented(n, 6, 4, 5), EXECUTIONS[execution]) for n in networks]
    start = torch.cat([pixels(4, 6, f"start {n}").double() for n in which])
    return Synthesis(settings, guides, start, [Group(LABELS[n], INDICES, Key((0, f"block {n}"))) for n in which])


def the_same(together: Synthesis, alone: list[Synthesis], tolerance: float = 1e-9) -> None:
    for n, (x, made) in enumerate(zip(together.x.detach().chunk(len(alone)), alone, strict=True)):
        torch.testing.assert_close(x, made.x.detach(), rtol=0, atol=tolerance)
        one, other = together.groups[n].history.plain(), made.groups[0].history.plain()
        assert one.keys() == other.keys()
        assert all(one[name] == pytest.approx(other[name], rel=1e-4) for name in one)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"teachers": {"sampling": "all"}},
        {"rounds": 2},
        {"stages": {"sizes": [4, 6]}, "objective": OBJECTIVE[:2] + OBJECTIVE[3:]},
    ],
    ids=["in turn", "all teachers", "rounds", "stages"],
)
def test_every_block_goes_its_own_way(changes: dict[str, Any]) -> None:
    together, alone = launch([0, 1, 2], **changes), [launch([n], **changes) for n in range(3)]
    for made in (together, *alone):
        made.run(lambda _: True)
    the_same(together, alone)
    assert not torch.allclose(*together.x.detach().chunk(3)[:2])


def test_the_gradient_of_a_block_is_its_own_bit_for_bit_or_nearly() -> None:
    whole = launch([2, 0]).gradient()[0].chunk(2)
    for got, n in zip(whole, (2, 0), strict=True):
        torch.testing.assert_close(got, launch([n]).gradient()[0], rtol=1e-11, atol=1e-15)


def test_recorded_it_goes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the graph is only called; moves are given as matrices in single precision."""
    monkeypatch.setattr("raydc.condense.observer.compiled", lambda function: function)
    changes = {"objective": RECORDABLE, "rounds": 2}
    together, alone = launch([0, 1], "graph", **changes), [launch([n], **changes) for n in range(2)]
    for made in (together, *alone):
        made.run(lambda _: True)
    the_same(together, alone, 1e-4)


def test_a_launch_goes_on_bit_for_bit() -> None:
    whole, first, again = (launch([0, 1], rounds=2) for _ in range(3))
    whole.run(lambda _: True)
    first.run(lambda made: made.done < 4)
    again.restore(first.state())
    again.run(lambda _: True)
    assert torch.equal(again.x, whole.x)
    assert [g.history.plain() for g in again.groups] == [g.history.plain() for g in whole.groups]


def test_blocks_that_differ_are_refused() -> None:
    for groups, sampling in (
        ([Group([0, 0], [0, 1], Key((0,))), Group([1], [0], Key((1,)))], "round_robin"),
        ([Group([0, 0], [0, 1], Key((0,))), Group([1, 1], [0, 1], Key((1,)))], "random"),
    ):
        settings = SynthesizeConfig.model_validate(
            {"ipc": 2, "steps": 6, "initialize": {"use": "noise"}, "blocks": {"group": "class_major"},
             "teachers": {"sampling": sampling}, "objective": OBJECTIVE[:1]}
        )  # fmt: skip
        guide = Guide(frozen(TinyResNet()), lambda z: z, PLAIN)
        with pytest.raises(ValueError, match="blocks of a launch"):
            Synthesis(settings, [guide], pixels(sum(len(group.classes) for group in groups), 6), groups)
