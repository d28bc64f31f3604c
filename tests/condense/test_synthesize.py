"""The synthesis loop: Adam by hand, the schedule, what is returned, and going on after a stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raydc.condense.group import Group
from raydc.condense.guide import Guide
from raydc.condense.space import Space
from raydc.condense.synthesize import Synthesis, snapshot_steps
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.keys import Key
from tests.condense.nets import TinyConvNet, TinyResNet, frozen, guided, invented, order, pixels

MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.25, 0.3)
NETWORK = frozen(TinyResNet())
STATISTICS = invented(NETWORK, 16, 4, 5)
LABELS = [0, 1, 2, 3]
SPACE = Space(MEAN, STD)
CDA = [
    {"use": "resized_crop", "min_scale": {"from": 1.0, "to": 0.08}},
    {"use": "flip"},
    {"use": "roll", "max_offset": 4},
]
TERMS = [{"use": "cross_entropy"}, {"use": "bn_statistics", "weight": 0.05}]


def config(**settings: Any) -> SynthesizeConfig:
    tree = {
        "ipc": 1,
        "steps": 6,
        "blocks": {"group": "class_major"},
        "initialize": {"use": "noise"},
        "augment": CDA,
        "objective": TERMS,
        "optimizer": {"lr": 0.1},
        "log_every": 1,
    }
    return SynthesizeConfig.model_validate({**tree, **settings})


def synthesis(settings: SynthesizeConfig, x: torch.Tensor | None = None, seed: int = 0) -> Synthesis:
    start = pixels(4, 16) if x is None else x
    guides = [guided(NETWORK, SPACE, STATISTICS)]
    return Synthesis(settings, guides, start, [Group(LABELS[: len(start)], [0] * len(start), Key((seed, "b")))])


def go_on(_: Synthesis) -> bool:
    return True


# ---- Adam -------------------------------------------------------------------------------------------------------
def test_steps_are_adams_by_hand() -> None:
    """A linear network, so that the gradient is (softmax - one-hot) W / B; then Adam as published, clipped."""
    weight = pixels(1, 1, "w", channels=5 * 3 * 4 * 4).reshape(5, 48).numpy().astype(np.float64)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(48, 5, bias=False)).double()
    linear[1].weight.data.copy_(torch.from_numpy(weight))
    linear.requires_grad_(False).eval()
    start = pixels(2, 4).double()
    lr, beta1, beta2, eps, steps = 0.3, 0.5, 0.9, 1e-3, 4
    settings = config(
        augment=[],
        objective=[{"use": "cross_entropy", "weight": 2.0}],
        optimizer={"lr": lr, "betas": [beta1, beta2], "eps": eps},
        steps=steps,
    )
    made = Synthesis(settings, [guided(linear, SPACE)], start, [Group(LABELS[:2], [0, 0], Key((0,)))])

    x, m, v = start.numpy().copy(), np.zeros((2, 3, 4, 4)), np.zeros((2, 3, 4, 4))
    mean, std = (np.float32(c).reshape(3, 1, 1) for c in (MEAN, STD))
    low, high = (np.float32(0) - mean) / std, (np.float32(1) - mean) / std
    for t in range(steps):
        z = x.reshape(2, 48) @ weight.T
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        g = (2.0 * (p - np.eye(5)[[0, 1]]) @ weight / 2).reshape(x.shape)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        rate = 0.5 * lr * (1 + np.cos(np.pi * t / steps))
        x = x - rate * (m / (1 - beta1 ** (t + 1))) / (np.sqrt(v / (1 - beta2 ** (t + 1))) + eps)
        x = np.clip(x, low, high)
        made.step()
        np.testing.assert_allclose(made.x.detach().numpy(), x, rtol=0, atol=1e-9)


def test_the_learning_rate_falls_by_a_cosine_at_every_step() -> None:
    made, rates = synthesis(config(steps=4, optimizer={"lr": 0.2})), []
    made.run(lambda s: rates.append(s.adam.lr) or True)
    assert rates[1:] == pytest.approx([0.2, 0.1 + 0.1 * 2**-0.5, 0.1, 0.1 - 0.1 * 2**-0.5])


# ---- what is returned -------------------------------------------------------------------------------------------
def test_the_last_iterate_is_returned_not_the_best() -> None:
    """With a step far too long the objective ends worse than it was on the way; the last pixels count all the same."""
    made = synthesis(config(steps=8, clamp=False, augment=[], optimizer={"lr": 9.0, "betas": [0.9, 0.99]}))
    way: list[torch.Tensor] = []
    assert made.run(lambda s: way.append(s.pixels()) or True)
    loss = made.groups[0].history.plain()["cross_entropy"]
    assert min(loss) < loss[-1]
    assert torch.equal(made.pixels(), way[-1]) and not any(torch.equal(made.pixels(), w) for w in way[:-1])


def test_pixels_are_always_valid_after_a_step() -> None:
    made = synthesis(config(optimizer={"lr": 5.0}))
    made.step()
    low, high = made.space.low, made.space.high
    assert (made.x >= low).all() and (made.x <= high).all()
    assert made.x.detach().amin() == low.amin() and made.x.detach().amax() == high.amax()


def test_the_first_pixels_are_clipped_only_after_the_first_step() -> None:
    start = 100 * pixels(4, 16)
    made = synthesis(config(), start)
    assert torch.equal(made.x.detach(), start) and made.x.data_ptr() != start.data_ptr()


def test_the_network_is_left_as_it_was() -> None:
    before = {k: v.clone() for k, v in NETWORK.state_dict().items()}
    synthesis(config()).run(go_on)
    assert all(torch.equal(before[k], v) for k, v in NETWORK.state_dict().items())
    assert all(p.grad is None for p in NETWORK.parameters())


def test_pick_maps_outputs_to_the_label_space() -> None:
    columns = [4, 3, 2, 1, 0]
    mirrored = frozen(TinyResNet())
    mirrored.fc.weight.copy_(mirrored.fc.weight[columns])
    mirrored.fc.bias.copy_(mirrored.fc.bias[columns])
    one, other = (
        Synthesis(config(), [Guide(network, pick, SPACE)], pixels(4, 16), [Group(LABELS, [0] * 4, Key((0, "b")))])
        for network, pick in ((NETWORK, lambda z: z), (mirrored, lambda z: z[:, columns]))
    )
    one.run(go_on)
    other.run(go_on)
    assert torch.allclose(one.x, other.x, rtol=0, atol=1e-5)


def test_a_term_without_weight_is_not_computed() -> None:
    made = synthesis(config(objective=[TERMS[0], {"use": "bn_statistics", "weight": 0.0}]))
    made.run(go_on)
    assert set(made.groups[0].history.terms) == {"cross_entropy"}


@pytest.mark.parametrize("use", ["bn_statistics", "conv_statistics", "densification"])
def test_a_term_that_has_nothing_to_say_may_be_the_only_one(use: str) -> None:
    """No BatchNorm, every layer left out, one image a class: the pixels stay where they are."""
    only = {"use": use, **({"drop": 1.0} if use == "conv_statistics" else {})}
    start = pixels(3, 8).clamp(-1, 1)
    settings = config(objective=[only], augment=[], steps=2)
    network = frozen(TinyConvNet())
    guide = guided(network, SPACE, invented(network, 8, 16, 5))
    made = Synthesis(settings, [guide], start, [Group(LABELS[:3], [0] * 3, Key((0,)))])
    made.run(go_on)
    assert torch.equal(made.x, start) and made.groups[0].history.plain()[use] == [0.0, 0.0]


def test_images_in_another_order_become_the_same_pictures() -> None:
    """One look is shared by all images of a step, and statistics know no order."""
    p, double = order(4), frozen(TinyResNet()).double()
    both = []
    for rows in (torch.arange(4), p):
        labels = [LABELS[n] for n in rows]
        made = Synthesis(
            config(), [guided(double, SPACE)], pixels(4, 16).double()[rows], [Group(labels, [0] * 4, Key((0, "b")))]
        )
        made.run(go_on)
        both.append(made.x.detach())
    assert torch.allclose(both[1], both[0][p], rtol=0, atol=1e-8)


# ---- history ----------------------------------------------------------------------------------------------------
def test_history_keeps_unweighted_terms_and_the_last_step() -> None:
    made = synthesis(config(steps=8, log_every=3))
    made.run(go_on)
    plain = made.groups[0].history.plain()
    assert plain["steps"] == [0, 3, 6, 7]
    every = synthesis(config(steps=8))
    every.run(go_on)
    for name in ("cross_entropy", "bn_statistics"):
        values = every.groups[0].history.plain()[name]
        assert plain[name] == [values[i] for i in (0, 3, 6, 7)]
        assert all(float(f"{v:.6g}") == v for v in values)
    weighted = synthesis(config(steps=1, objective=[{**t, "weight": 0.5} for t in TERMS]))
    weighted.run(go_on)
    assert weighted.groups[0].history.plain()["cross_entropy"][0] == plain["cross_entropy"][0]


def test_the_objective_falls() -> None:
    made = synthesis(config(steps=40, augment=[], optimizer={"lr": 0.1}))
    made.run(go_on)
    plain = made.groups[0].history.plain()
    total = [a + 0.05 * b for a, b in zip(plain["cross_entropy"], plain["bn_statistics"], strict=True)]
    assert total[-1] < 0.7 * total[0]


# ---- the same again, and on again -------------------------------------------------------------------------------
def test_the_same_block_gives_the_same_pixels_and_another_key_others() -> None:
    one, same, other = synthesis(config()), synthesis(config()), synthesis(config(), seed=1)
    for made in (one, same, other):
        made.run(go_on)
    assert torch.equal(one.x, same.x) and one.groups[0].history.plain() == same.groups[0].history.plain()
    assert not torch.equal(one.x, other.x)


def test_ambient_randomness_has_no_say() -> None:
    torch.manual_seed(1)
    one = synthesis(config())
    one.run(go_on)
    torch.manual_seed(2)
    other = synthesis(config())
    other.run(go_on)
    assert torch.equal(one.x, other.x)


def test_a_state_is_tensors_alone() -> None:
    made = synthesis(config())
    made.step()
    state = made.state()
    assert all(isinstance(v, torch.Tensor) and not v.requires_grad for v in state.values())
    assert {"x", "exp_avg", "exp_avg_sq", "done"} <= set(state)


def test_observe_can_stop_and_the_rest_can_follow() -> None:
    made, seen = synthesis(config()), []

    def observe(s: Synthesis) -> bool:
        seen.append(s.done)
        return s.done < 2

    assert not made.run(observe)
    assert seen == [0, 1, 2] and made.done == 2
    seen.clear()
    assert not made.run(observe) and seen == [2]
    assert made.run(go_on) and made.done == 6
    whole = synthesis(config())
    whole.run(go_on)
    assert torch.equal(made.x, whole.x)


def test_observe_sees_the_start_and_every_step() -> None:
    made, seen = synthesis(config(steps=3)), []
    assert made.run(lambda s: seen.append(s.done) or True)
    assert seen == [0, 1, 2, 3]


# ---- snapshots --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [
        (4000, 5, [0, 1, 8, 63, 503, 4000]),
        (200, 5, [0, 1, 4, 14, 53, 200]),
        (3, 5, [0, 1, 2, 3]),
        (1, 5, [0, 1]),
        (100, 1, [0, 100]),
        (100, 2, [0, 1, 100]),
        (0, 5, [0]),
        (100, 0, []),
        (0, 0, []),
    ],
)
def test_snapshot_steps(steps: int, count: int, expected: list[int]) -> None:
    assert snapshot_steps(steps, count) == expected
