"""Stages of other resolutions, and the start mixed in between them (FADRM, specification section 3.1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raydc.condense.group import Group
from raydc.condense.space import Space
from raydc.condense.stages import resized
from raydc.condense.synthesize import Synthesis
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.keys import Key
from tests.condense.nets import TinyResNet, frozen, guided, pixels

SPACE = Space((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
NETWORK = frozen(TinyResNet())
START = pixels(2, 8).clamp(-2, 2)
SIZES = [6, 8, 6, 8]


def config(**settings: Any) -> SynthesizeConfig:
    tree = {
        "ipc": 1,
        "steps": 8,
        "stages": {"sizes": SIZES, "keep": 0.5},
        "initialize": {"use": "noise"},
        "objective": [{"use": "cross_entropy"}, {"use": "bn_statistics", "weight": 0.05}],
        "optimizer": {"lr": 0.1},
        "log_every": 1,
    }
    return SynthesizeConfig.model_validate({**tree, **settings})


def block(settings: SynthesizeConfig, start: torch.Tensor = START, network: nn.Module = NETWORK) -> Synthesis:
    return Synthesis(settings, [guided(network, SPACE)], start, [Group([0, 1], [0, 0], Key((0, "b")))])


# ---- resizing ---------------------------------------------------------------------------------------------------
def test_half_the_side_of_a_picture_by_hand() -> None:
    """Bilinear without antialiasing, half-pixel centres: at half the size each pixel is the mean of four."""
    x = START.numpy()
    expected = x.reshape(2, 3, 4, 2, 4, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(resized(START, 4), expected, rtol=0, atol=1e-6)


def test_twice_the_side_of_two_pixels_by_hand() -> None:
    row = torch.tensor([0.0, 4.0]).expand(1, 1, 2, 2)
    assert resized(row, 4)[0, 0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]


def test_a_picture_of_that_size_is_not_touched() -> None:
    assert resized(START, 8) is START


# ---- the way through the stages ---------------------------------------------------------------------------------
def test_sides_over_the_steps() -> None:
    made, sides = block(config()), []
    made.run(lambda s: sides.append(s.x.shape[-1]) or True)
    assert sides[0] == 6 and sides[1:] == [6, 6, 8, 8, 6, 6, 8, 8]
    assert made.pixels().shape == (2, 3, 8, 8)


def test_stages_share_the_steps_evenly() -> None:
    settings = config(steps=2_000)
    stages = [settings.stage(t) for t in range(2_000)]
    assert [stages.count(n) for n in range(4)] == [500] * 4 and stages == sorted(stages)


@pytest.mark.parametrize("keep", [0.5, 0.8, 1.0, 0.0])
def test_what_a_stage_begins_with(keep: float) -> None:
    """keep * resize(x) + (1 - keep) * resize(start), the start at its full resolution; the step itself is minute."""
    made = block(config(stages={"sizes": [4, 8], "keep": keep}, steps=4, optimizer={"lr": 1e-9}))
    made.step()
    made.step()
    with torch.no_grad():
        made.x.add_(0.25)  # so that the two parts differ
    before = made.x.detach().clone()
    made.step()
    up = nn.functional.interpolate(before, size=(8, 8), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(made.x.detach(), keep * up + (1 - keep) * START, rtol=0, atol=1e-6)


def test_nothing_is_mixed_in_after_the_last_stage() -> None:
    made = block(config(optimizer={"lr": 0.5}))
    made.run(lambda s: s.done < 7)
    before = made.x.detach().clone()
    made.step()
    assert (made.x.detach() - before).abs().max() < 0.5


def test_each_stage_has_a_new_optimiser_and_terms_that_remember_nothing() -> None:
    terms = [{"use": "cross_entropy"}, {"use": "bn_statistics", "average": {"decay": 0.8}}, {"use": "flatness"}]
    made = block(config(objective=terms))
    counts, visits = [], []
    for _ in range(8):
        made.step()
        state = made.state()
        counts.append(int(state["adam_steps"]))
        visits.append(int(state["0.term.bn_statistics.visits.0.mean"][0]))
        assert state["0.term.flatness.kept"].shape == made.x.shape
    assert counts == visits == [1, 2] * 4


def test_against_a_plain_implementation() -> None:
    lr, steps, keep = 0.25, 8, 0.5
    network, start = frozen(TinyResNet()).double(), START.double()
    made = block(config(optimizer={"lr": lr}, objective=[{"use": "cross_entropy"}]), start, network)
    made.run(lambda _: True)

    def resize(v: torch.Tensor, side: int) -> torch.Tensor:
        return nn.functional.interpolate(v, size=(side, side), mode="bilinear", align_corners=False)

    x, t = resize(start, SIZES[0]), 0
    for stage, side in enumerate(SIZES):
        x = x.clone().requires_grad_(True)
        adam = torch.optim.Adam([x], lr=lr, betas=(0.5, 0.9), eps=1e-8)
        for _ in range(2):
            adam.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * t / steps))
            adam.zero_grad()
            nn.functional.cross_entropy(network(x), torch.tensor([0, 1])).backward()
            adam.step()
            x.data = x.data.clamp(-2, 2)
            t += 1
        x = x.detach()
        if stage < 3:
            x = keep * resize(x, SIZES[stage + 1]) + (1 - keep) * resize(start, SIZES[stage + 1])
        assert x.shape[-1] == (SIZES[stage + 1] if stage < 3 else side)
    np.testing.assert_allclose(made.x.detach(), x, rtol=0, atol=1e-8)


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 6])
def test_going_on_across_a_stage_is_bit_for_bit(stop: int) -> None:
    terms = [{"use": "cross_entropy"}, {"use": "bn_statistics", "average": {"decay": 0.8}}, {"use": "flatness"}]
    settings = config(objective=terms, augment=[{"use": "resized_crop"}, {"use": "roll", "max_offset": 2}])
    whole, first, again = block(settings), block(settings), block(settings)
    whole.run(lambda _: True)
    first.run(lambda s: s.done < stop)
    again.restore(first.state())
    assert again.x.shape[-1] == SIZES[(stop - 1) // 2]
    again.run(lambda _: True)
    assert torch.equal(again.x, whole.x) and again.groups[0].history.plain() == whole.groups[0].history.plain()
