"""A pool of teachers: who looks at which step, and that all see the same picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raydc.condense.group import Group
from raydc.condense.guide import Guide
from raydc.condense.space import Space
from raydc.condense.synthesize import Synthesis
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.keys import Key
from tests.condense.nets import PLAIN, TinyConvNet, TinyMobile, TinyResNet, frozen, guided, pixels

NAMES = ["a", "b", "c"]
ONE, TWO = Space((0.5, 0.45, 0.4), (0.25, 0.25, 0.3)), Space((0.1, 0.2, 0.3), (0.9, 0.5, 0.7))


class Watched(nn.Module):
    """A network that writes down who looked, and at what."""

    def __init__(self, name: str, network: nn.Module, log: list[tuple[str, torch.Tensor]]) -> None:
        super().__init__()
        self.name, self.network, self.log = name, network, log

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.log.append((self.name, x.detach().clone()))
        return self.network(x)


def config(sampling: str, **settings: Any) -> SynthesizeConfig:
    tree = {
        "ipc": 1,
        "steps": 7,
        "initialize": {"use": "noise"},
        "teachers": {"sampling": sampling},
        "objective": [{"use": "cross_entropy"}, {"use": "bn_statistics", "weight": 0.05}],
        "optimizer": {"lr": 0.1},
        "log_every": 1,
    }
    return SynthesizeConfig.model_validate({**tree, **settings})


def pool(spaces: list[Space], networks: list[nn.Module] | None = None) -> tuple[list[Guide], list[Any]]:
    log: list[tuple[str, torch.Tensor]] = []
    networks = networks or [frozen(TinyResNet(), name) for name in NAMES[: len(spaces)]]
    pairs = zip(NAMES, networks, spaces, strict=False)
    return [guided(Watched(name, network, log).eval(), space) for name, network, space in pairs], log


def block(settings: SynthesizeConfig, guides: list[Guide], seed: int = 0) -> Synthesis:
    return Synthesis(settings, guides, pixels(2, 8), [Group([0, 1], [0, 0], Key((seed, "b")))])


def whole(settings: SynthesizeConfig, guides: list[Guide], seed: int = 0) -> Synthesis:
    made = block(settings, guides, seed)
    made.run(lambda _: True)
    return made


def looks(sampling: str, seed: int = 0, **settings: Any) -> str:
    guides, log = pool([PLAIN] * 3)
    whole(config(sampling, **settings), guides, seed)
    return "".join(name for name, _ in log)


# ---- who looks --------------------------------------------------------------------------------------------------
def test_one_teacher_looks_at_every_step() -> None:
    assert looks("single") == "aaaaaaa"


def test_in_turn() -> None:
    assert looks("round_robin") == "abcabca"


def test_drawn_by_the_key_alone() -> None:
    drawn = looks("random", steps=90)
    assert drawn == looks("random", steps=90) and drawn != looks("random", seed=1, steps=90)
    assert [drawn.count(name) / 90 for name in NAMES] == pytest.approx([1 / 3] * 3, abs=0.12)


def test_all_of_them() -> None:
    assert looks("all", steps=3) == "abc" * 3


def test_flatness_asks_the_teacher_of_the_step() -> None:
    assert looks("round_robin", objective=[{"use": "cross_entropy"}, {"use": "flatness"}], steps=3) == "aabbcc"


def test_all_is_the_mean_objective() -> None:
    """Adam knows no scale; so the gradient that it is given, and the terms that are written down."""
    objective = [{"use": "cross_entropy"}]
    guides, _ = pool([PLAIN] * 3)
    made = block(config("all", objective=objective), guides)
    made.step()
    x = pixels(2, 8).requires_grad_(True)
    losses = [nn.functional.cross_entropy(g.network(x), torch.tensor([0, 1])) for g in guides]
    torch.stack(losses).mean().backward()
    np.testing.assert_allclose(made.adam.exp_avg, 0.5 * x.grad, rtol=1e-4, atol=1e-9)
    assert made.groups[0].history.plain()["cross_entropy"] == [
        pytest.approx(sum(loss.item() for loss in losses) / 3, rel=1e-5)
    ]


def test_a_resumed_block_goes_on_with_the_teacher_whose_turn_it_is() -> None:
    for sampling in ("round_robin", "random"):
        settings = config(sampling, objective=[{"use": "bn_statistics", "average": {"decay": 0.8}}])
        straight = whole(settings, pool([PLAIN] * 3)[0])
        first, again = block(settings, pool([PLAIN] * 3)[0]), block(settings, pool([PLAIN] * 3)[0])
        first.run(lambda s: s.done < 4)
        again.restore(first.state())
        again.run(lambda _: True)
        assert torch.equal(again.x, straight.x)


def test_a_teacher_without_batch_norm_joins_a_pool() -> None:
    guides, log = pool([PLAIN] * 3, [frozen(TinyResNet()), frozen(TinyConvNet()), frozen(TinyMobile())])
    values = whole(config("round_robin"), guides).groups[0].history.plain()["bn_statistics"]
    assert [v == 0.0 for v in values] == [False, True, False, False, True, False, False]


# ---- what they see ----------------------------------------------------------------------------------------------
def test_teachers_of_different_normalisation_see_the_same_picture() -> None:
    guides, log = pool([ONE, TWO])
    augment = [{"use": "resized_crop"}, {"use": "flip"}, {"use": "roll", "max_offset": 3}]
    whole(config("all", augment=augment), guides)
    assert len(log) == 14
    for (_, of_one), (_, of_two) in zip(log[::2], log[1::2], strict=True):
        as_pixels = [x * space.std + space.mean for x, space in ((of_one, ONE), (of_two, TWO))]
        assert not torch.allclose(of_one, of_two, atol=0.1)
        torch.testing.assert_close(*as_pixels, rtol=0, atol=1e-6)


def test_padding_has_the_same_colour_for_all() -> None:
    """Zero of the block's space is the first teacher's mean colour; the second sees that colour, not its own mean."""
    guides, log = pool([ONE, TWO])
    whole(config("all", augment=[{"use": "padded_crop", "pad": 8}], steps=4), guides)
    seen = 0
    for (_, of_one), (_, of_two) in zip(log[::2], log[1::2], strict=True):
        border = (of_one == 0).all(1, keepdim=True).expand_as(of_one)
        seen += int(border.sum())
        colour = (ONE.mean - TWO.mean) / TWO.std
        torch.testing.assert_close(of_two[border], colour.expand_as(of_two)[border], rtol=0, atol=1e-6)
    assert seen > 0


def test_the_block_lives_in_the_space_of_the_first() -> None:
    made = whole(config("round_robin", optimizer={"lr": 99.0}), pool([ONE, TWO])[0])
    assert (made.x >= ONE.low).all() and (made.x <= ONE.high).all()
    assert (made.x.detach().amax((0, 2, 3)) == ONE.high.flatten()).all()


def test_the_same_network_behind_another_normalisation_gives_the_same_gradient() -> None:
    """The second teacher's input layer undoes its own normalisation and does that of the first."""

    class Renormalised(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(ONE.normalize(x * TWO.std + TWO.mean))

    network = frozen(TinyResNet()).double()
    results = []
    for second in (guided(network, ONE), guided(Renormalised(network).eval(), TWO)):
        made = Synthesis(
            config("round_robin"),
            [guided(network, ONE), second],
            pixels(2, 8).double(),
            [Group([0, 1], [0, 0], Key((0,)))],
        )
        made.run(lambda _: True)
        results.append(made.x.detach())
    torch.testing.assert_close(*results, rtol=0, atol=1e-5)
