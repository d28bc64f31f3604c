"""The term at the inputs of convolutions, against hooks and NumPy; and the layers that a step leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raydc.condense.discrepancy.bn_statistics import BNStatisticsTerm
from raydc.condense.discrepancy.conv_statistics import ConvStatisticsTerm
from raydc.condense.guide import Guide
from raydc.config.axes.discrepancy import BNStatistics, ConvStatistics
from tests.condense.nets import (
    LOOK,
    TinyConvNet,
    TinyMobile,
    at,
    frozen,
    guided,
    invented,
    judged,
    look_at,
    order,
    pixels,
)

TILE, SIDE, CLASSES = 4, 8, [0, 1, 1, 2]
CONVS = ["stem", "depth", "squeeze", "point"]
X = pixels(4, SIDE).double()


def made(**settings: Any) -> ConvStatisticsTerm:
    return ConvStatisticsTerm(ConvStatistics.model_validate({"use": "conv_statistics", "tile": TILE, **settings}))


def teacher() -> Guide:
    net = frozen(TinyMobile(width=4)).double()
    return guided(net, statistics=invented(net, SIDE, TILE, 3))


def norms(guide: Guide, labels: list[int] | None) -> dict[str, list[float]]:
    """Of mean, variance, tile mean and tile variance at each convolution; targets of all data, or of labels."""
    assert guide.statistics is not None
    seen: dict[str, torch.Tensor] = {}
    modules, known, out = dict(guide.network.named_modules()), guide.statistics, {}
    handles = [
        modules[n].register_forward_pre_hook(lambda _, inputs, n=n: seen.update({n: inputs[0].detach()})) for n in CONVS
    ]
    guide.network(X)
    for handle in handles:
        handle.remove()
    if labels is None:
        mean, var = known.whole[0].numpy(), known.whole[1].numpy()
    else:
        rows = known.classes.numpy().astype(np.float64)[labels]
        mean = rows[:, 0].mean(axis=0)
        var = (rows[:, 1] + (rows[:, 0] - mean) ** 2).mean(axis=0)
    at = 0
    for segment in known.segments:
        c, k = segment.channels, segment.tiles
        if segment.name in CONVS:
            a = seen[segment.name]
            side = -(-a.shape[2] // TILE) * TILE
            up = (
                a.numpy() if side == a.shape[2] else nn.functional.interpolate(a, (side, side), mode="bilinear").numpy()
            )
            cut = [up[:, :, i : i + TILE, j : j + TILE] for i in range(0, side, TILE) for j in range(0, side, TILE)]
            assert len(cut) == k
            batch = [a.numpy().mean(axis=(0, 2, 3)), a.numpy().var(axis=(0, 2, 3))]
            batch += [np.array([t.mean() for t in cut]), np.array([t.var() for t in cut])]
            goal = [mean[at : at + c], var[at : at + c], mean[at + c : at + c + k], var[at + c : at + c + k]]
            out[segment.name] = [float(np.linalg.norm(g - b)) for g, b in zip(goal, batch, strict=True)]
        at += c + k
    return out


@pytest.mark.parametrize(("by", "chosen"), [(["channel", "tile"], 0b1111), (["channel"], 0b0011), (["tile"], 0b1100)])
def test_against_hooks_and_numpy(by: list[str], chosen: int) -> None:
    guide = teacher()
    expected = norms(guide, None)
    total = sum(
        (10.0 if name == "stem" else 1.0) * sum(v for n, v in enumerate(expected[name]) if chosen >> n & 1)
        for name in CONVS
    )
    assert judged(made(by=by), guide, X, CLASSES).item() == pytest.approx(total, rel=1e-6)


def test_the_classes_of_the_batch() -> None:
    guide = teacher()
    of_all, own = norms(guide, None), norms(guide, CLASSES)
    total = sum((10.0 if n == "stem" else 1.0) * (0.5 * sum(of_all[n]) + 0.5 * sum(own[n])) for n in CONVS)
    assert judged(made(category=0.5), guide, X, CLASSES).item() == pytest.approx(total, rel=1e-6)


def test_the_stems_input_is_the_picture() -> None:
    component, guide = made(), teacher()
    look = look_at(component, guide, X, CLASSES)
    stem = at(look.taps["conv"], 0)
    assert guide.layers[0].name == "stem"
    np.testing.assert_allclose(stem.mean, X.mean((0, 2, 3)), rtol=1e-12)
    assert len(stem.tile_mean) == 4


def test_a_network_without_batch_norm_is_a_teacher_too() -> None:
    net = frozen(TinyConvNet())
    guide = guided(net, statistics=invented(net, SIDE, TILE, 3))
    assert judged(made(), guide, X.float(), CLASSES) > 0


def test_without_statistics_there_is_nothing_to_hold_it_against() -> None:
    with pytest.raises(ValueError, match="conv_statistics needs statistics of the real data"):
        judged(made(), frozen(TinyMobile()), X.float(), CLASSES)


def test_statistics_of_other_tiles_are_refused() -> None:
    """A layer of one tile would be held against many without a word."""
    with pytest.raises(ValueError, match="tiles of side 4, the objective's of 8"):
        judged(made(tile=8), teacher(), X, CLASSES)
    assert judged(made(tile=8, by=["channel"]), teacher(), X, CLASSES) > 0


def test_pictures_of_another_size_than_those_of_the_statistics_are_refused() -> None:
    with pytest.raises(ValueError, match="the batch has 9 values .* the real data have 4: they are of pictures"):
        judged(made(), teacher(), pixels(4, 12).double(), CLASSES)
    assert judged(made(by=["channel"]), teacher(), pixels(4, 12).double(), CLASSES) > 0


# ---- layers left out --------------------------------------------------------------------------------------------
def looked_at(component: ConvStatisticsTerm, guide: Guide, step: int) -> set[str]:
    there = component.draw(guide.layers, LOOK.child(step))
    return {guide.layers[n].name for n in component.tap(guide.layers) if there is None or there[n]}


def test_layers_are_left_out_by_the_key_alone() -> None:
    component, guide = made(drop=0.4), teacher()
    drawn = [looked_at(component, guide, t) for t in range(200)]
    assert drawn == [looked_at(made(drop=0.4), teacher(), t) for t in range(200)]
    kept = [sum(name in d for d in drawn) / 200 for name in CONVS]
    assert kept == pytest.approx([0.6] * 4, abs=0.1)
    assert all(looked_at(made(), guide, t) == set(CONVS) for t in range(5))
    assert looked_at(made(drop=1.0), guide, 0) == set()


def test_the_term_of_a_step_is_that_of_the_layers_that_are_left() -> None:
    """Not rescaled; and where the stem is left out, its multiplier does not go to another layer."""
    component, guide = made(drop=0.5), teacher()
    expected, without_stem = norms(guide, None), 0
    for t in range(12):
        names = looked_at(component, guide, t)
        without_stem += "stem" not in names
        total = sum((10.0 if n == "stem" else 1.0) * sum(expected[n]) for n in names)
        got = judged(component, guide, X, CLASSES, key=LOOK.child(t))
        assert got.item() == pytest.approx(total, rel=1e-6, abs=1e-12)
    assert 0 < without_stem < 12


def test_the_average_of_a_layer_that_is_left_out_is_not_touched() -> None:
    component, guide = made(drop=0.5, average={"decay": 0.8}), teacher()
    visits, kept = dict.fromkeys(CONVS, 0), [torch.zeros(1)] * 4
    for t in range(8):
        names = looked_at(component, guide, t)
        look = look_at(component, guide, X + t, CLASSES, key=LOOK.child(t))
        component(look)
        state, before = component.state(), kept
        kept = list(state["kept.0.mean"].split([c for c, _ in look.taps["conv"].lengths]))
        for n, name in enumerate(CONVS):
            visits[name] += name in names
            if t and name not in names:
                assert torch.equal(kept[n], before[n])
        assert state["visits.0.mean"].tolist() == list(visits.values())
    assert min(visits.values()) > 0 and max(visits.values()) < 8


def test_a_step_without_any_layer_is_zero_and_pulls_nowhere() -> None:
    x = X.clone().requires_grad_(True)
    value = judged(made(drop=1.0), teacher(), x, CLASSES)
    value.backward()
    assert value.item() == 0.0 and torch.equal(x.grad, torch.zeros_like(x))


def test_batch_norm_is_never_left_out() -> None:
    component = BNStatisticsTerm(BNStatistics(use="bn_statistics"))
    guide = teacher()
    assert all(component.draw(guide.layers, LOOK.child(t)) is None for t in range(20))
    assert len(component.tap(guide.layers)) == 1


# ---- gradient, order, precision ---------------------------------------------------------------------------------
def test_gradient_against_finite_differences() -> None:
    net = frozen(TinyMobile(width=2)).double()
    guide = guided(net, statistics=invented(net, 6, TILE, 3))
    x = pixels(3, 6).double().requires_grad_(True)
    component = made(category=0.5)
    assert torch.autograd.gradcheck(lambda v: judged(component, guide, v, [0, 1, 1]), (x,), atol=1e-6, rtol=1e-5)


def test_the_order_of_images_does_not_matter() -> None:
    guide, p = teacher(), order(4)
    other = judged(made(category=0.5), guide, X[p], [CLASSES[n] for n in p])
    assert other.item() == pytest.approx(judged(made(category=0.5), guide, X, CLASSES).item(), rel=1e-10)


def test_bfloat16_is_within_two_percent() -> None:
    net = frozen(TinyMobile())
    guide = guided(net, statistics=invented(net, SIDE, TILE, 3))
    single = judged(made(), guide, X.float(), CLASSES)
    net.to(torch.bfloat16)
    half = judged(made(), guide, X.to(torch.bfloat16), CLASSES)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(single.item(), rel=0.02)
