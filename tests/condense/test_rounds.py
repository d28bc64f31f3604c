"""Images of a class that begin one group after another (DELT, specification section 2.2)."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raydc.condense.group import Group
from raydc.condense.space import Space
from raydc.condense.synthesize import Synthesis
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.keys import Key
from tests.condense.nets import TinyResNet, frozen, guided, pixels

SPACE = Space((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
NETWORK = frozen(TinyResNet())
START = pixels(4, 8).clamp(-2, 2)


def config(ipc: int, rounds: int, steps: int, **settings: Any) -> SynthesizeConfig:
    tree = {
        "ipc": ipc,
        "rounds": rounds,
        "steps": steps,
        "initialize": {"use": "noise"},
        "blocks": {"group": "class_major"},
        "objective": [{"use": "cross_entropy"}, {"use": "bn_statistics", "weight": 0.05}],
        "optimizer": {"lr": 0.1},
        "log_every": 1,
    }
    return SynthesizeConfig.model_validate({**tree, **settings})


def block(settings: SynthesizeConfig, start: torch.Tensor = START, network: nn.Module = NETWORK) -> Synthesis:
    """Two classes of two images, class-major."""
    return Synthesis(settings, [guided(network, SPACE)], start, [Group([0, 0, 1, 1], [0, 1, 0, 1], Key((0, "b")))])


# ---- who begins when --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("ipc", "rounds", "sizes"),
    [
        (50, 8, [7, 7, 6, 6, 6, 6, 6, 6]),
        (10, 8, [2, 2, 1, 1, 1, 1, 1, 1]),
        (16, 8, [2] * 8),
        (5, 1, [5]),
        (3, 8, [1, 1, 1]),
    ],
)
def test_sizes_of_groups(ipc: int, rounds: int, sizes: list[int]) -> None:
    settings = config(ipc, rounds, 4_000)
    begins = [settings.begins(index) for index in range(ipc)]
    assert begins == sorted(begins)
    groups = Counter(begins)
    assert list(groups.values()) == sizes
    assert list(groups) == [g * 4_000 // rounds for g in range(len(sizes))]


@pytest.mark.parametrize(("ipc", "share"), [(50, 0.578), (10, 0.638)])
def test_the_share_of_image_steps(ipc: int, share: float) -> None:
    settings = config(ipc, 8, 4_000)
    spent = sum(4_000 - settings.begins(index) for index in range(ipc))
    assert spent / (4_000 * ipc) == pytest.approx(share, abs=6e-4)


# ---- what moves -------------------------------------------------------------------------------------------------
def test_an_image_does_not_move_before_its_round() -> None:
    made = block(config(2, 2, 6))
    for t in range(6):
        before = made.x.detach().clone()
        made.step()
        moved = (made.x.detach() != before).flatten(1).any(1).tolist()
        assert moved == [True, t >= 3, True, t >= 3]
        if t < 3:
            assert torch.equal(made.x.detach()[[1, 3]], START[[1, 3]])


def test_steps_before_the_second_round_are_those_of_a_block_without_the_others() -> None:
    """Statistics, logits and gradients are of the images that move alone."""
    made = block(config(2, 2, 6))
    settings = config(1, 1, 6)
    alone = Synthesis(settings, [guided(NETWORK, SPACE)], START[[0, 2]], [Group([0, 1], [0, 0], Key((0, "b")))])
    for _ in range(3):
        made.step()
        alone.step()
    assert torch.equal(made.x.detach()[[0, 2]], alone.x.detach())
    assert made.groups[0].history.plain() == alone.groups[0].history.plain()


def test_against_a_plain_implementation() -> None:
    """One optimiser over all, one schedule over all steps, the active slice in the loss; as the pseudo-code has it."""
    lr, steps, network = 0.25, 6, frozen(TinyResNet()).double()
    start = START.double()
    made = block(config(2, 2, steps, optimizer={"lr": lr}), start, network)
    made.run(lambda _: True)
    x, labels, group = start.clone().requires_grad_(True), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    adam = torch.optim.Adam([x], lr=lr, betas=(0.5, 0.9), eps=1e-8)
    seen: list[torch.Tensor] = []
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in norms:
        m.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    order = [norms.index(m) for m in (network.bn1, network.downsample[1], network.bn2, network.bn3)]
    for t in range(steps):
        active = group <= t // 3
        adam.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * t / steps))
        adam.zero_grad()
        seen.clear()
        loss = nn.functional.cross_entropy(network(x[active]), labels[active])
        for place, a in zip(order, seen, strict=True):
            apart = (a.mean((0, 2, 3)) - norms[place].running_mean).norm()
            apart = apart + (a.var((0, 2, 3), unbiased=False) - norms[place].running_var).norm()
            loss = loss + 0.05 * (10.0 if place == 0 else 1.0) * apart
        loss.backward()
        adam.step()
        x.data = x.data.clamp(-2, 2)
    np.testing.assert_allclose(made.x.detach(), x.detach(), rtol=0, atol=1e-7)


def test_a_late_image_begins_with_hardly_any_bias_correction() -> None:
    """The step counter is shared: with zero moments at step 21 the first update is 1.49 lr, not 1 (late: 1.58)."""
    made = block(config(2, 2, 40, optimizer={"lr": 1e-3}, objective=[{"use": "cross_entropy"}], clamp=False))
    made.run(lambda s: s.done < 20)
    before = made.x.detach().clone()
    made.step()
    rate = made.adam.lr
    late = (made.x.detach() - before)[[1, 3]].abs().median().item() / rate
    assert late == pytest.approx(0.5 / (1 - 0.5**21) / math.sqrt(0.1 / (1 - 0.9**21)), rel=1e-3)


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_going_on_across_a_round_is_bit_for_bit(stop: int) -> None:
    terms = [
        {"use": "cross_entropy"},
        {"use": "bn_statistics", "average": {"decay": 0.8}},
        {"use": "flatness", "decay": 0.5},
    ]
    settings = config(2, 2, 6, objective=terms)
    whole, first, again = block(settings), block(settings), block(settings, torch.zeros_like(START))
    whole.run(lambda _: True)
    first.run(lambda s: s.done < stop)
    again.restore(first.state())
    again.run(lambda _: True)
    assert torch.equal(again.x, whole.x) and again.groups[0].history.plain() == whole.groups[0].history.plain()


def test_a_block_of_late_images_alone_begins_late() -> None:
    settings = config(2, 2, 6)
    late = Synthesis(settings, [guided(NETWORK, SPACE)], START[[1, 3]], [Group([0, 1], [1, 1], Key((0, "b")))])
    assert late.done == 3 and late.run(lambda _: True)
    assert late.groups[0].history.steps == [3, 4, 5]
