"""What both matching terms share: reductions, the first layer, the classes' share of the target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raydc.condense.discrepancy.bn_statistics import BNStatisticsTerm
from raydc.condense.statistics import Segment, Statistics
from raydc.config.axes.discrepancy import BNStatistics
from raydc.keys import Key
from tests.condense.nets import TinyResNet, frozen, guided, invented, judged, look_at, order, pixels

NAMES = ["bn1", "bn2", "bn3", "downsample.1"]
X = pixels(4, 8).double()


def made(**settings: Any) -> BNStatisticsTerm:
    return BNStatisticsTerm(BNStatistics.model_validate({"use": "bn_statistics", **settings}))


def network() -> nn.Module:
    return frozen(TinyResNet()).double()


def of_batch(net: nn.Module, x: torch.Tensor) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Means and biased variances at the BatchNorm inputs, by hooks and NumPy."""
    seen: dict[str, np.ndarray] = {}
    modules = dict(net.named_modules())
    handles = [
        modules[n].register_forward_pre_hook(lambda _, inputs, n=n: seen.update({n: inputs[0].detach().numpy()}))
        for n in NAMES
    ]
    net(x)
    for handle in handles:
        handle.remove()
    return {n: (a.mean(axis=(0, 2, 3)), a.var(axis=(0, 2, 3))) for n, a in seen.items()}


# ---- reductions -------------------------------------------------------------------------------------------------
def differences(net: nn.Module) -> list[list[np.ndarray]]:
    modules, batch = dict(net.named_modules()), of_batch(net, X)
    return [
        [batch[n][0] - modules[n].running_mean.numpy(), batch[n][1] - modules[n].running_var.numpy()] for n in NAMES
    ]


@pytest.mark.parametrize("first", [1.0, 10.0, 0.0])
def test_reductions(first: float) -> None:
    net = network()
    weights, apart = [first, 1, 1, 1], differences(net)
    norms = [w * np.linalg.norm(d) for w, layer in zip(weights, apart, strict=True) for d in layer]
    squares = [w * np.mean(d**2) for w, layer in zip(weights, apart, strict=True) for d in layer]
    for reduction, expected in (("sum_l2", sum(norms)), ("mean_l2", np.mean(norms)), ("mse", np.mean(squares))):
        got = judged(made(reduction=reduction, first_multiplier=first), net, X)
        assert got.item() == pytest.approx(expected, rel=1e-10), reduction


@pytest.mark.parametrize("reduction", ["sum_l2", "mean_l2", "mse"])
def test_gradient_of_every_reduction(reduction: str) -> None:
    net = frozen(TinyResNet(width=2)).double()
    guide = guided(net, statistics=invented(net, 5, 0, 3))
    component = made(reduction=reduction, category=0.5)
    x = pixels(3, 5).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: judged(component, guide, v, [0, 2, 2]), (x,), atol=1e-6, rtol=1e-5)


def test_with_an_average_the_gradient_is_that_of_the_average() -> None:
    """Straight through: the analytic derivative of <direction of the average, the step's own statistics>."""
    net = frozen(nn.Sequential(nn.BatchNorm2d(3))).double()
    component, earlier = made(average={"decay": 0.8}, first_multiplier=1.0), pixels(3, 4, "earlier").double()
    judged(component, net, earlier)
    now = pixels(3, 4).double().requires_grad_(True)
    judged(component, net, now).backward()
    both = earlier.numpy(), now.detach().numpy()
    statistics = [np.stack([a.mean(axis=(0, 2, 3)), a.var(axis=(0, 2, 3))]) for a in both]
    mean, var = (0.8 * 0.2 * statistics[0] + 0.2 * statistics[1]) / (1 - 0.8**2)
    dmu, dv = mean - net[0].running_mean.numpy(), var - net[0].running_var.numpy()
    dmu, dv = dmu / np.linalg.norm(dmu), dv / np.linalg.norm(dv)
    a = now.detach().numpy()
    each = (slice(None), None, None)
    expected = (dmu[each] + 2 * dv[each] * (a - statistics[1][0][each])) / (a.size / 3)
    np.testing.assert_allclose(now.grad, expected, rtol=1e-9, atol=1e-14)


def test_teachers_are_averaged_apart() -> None:
    net = network()
    component, alone = made(average={"decay": 0.5}), made(average={"decay": 0.5})
    judged(component, net, X, place=0)
    judged(component, net, 2 * X, place=1)
    judged(alone, net, X)
    assert judged(component, net, 3 * X, place=0).item() == judged(alone, net, 3 * X).item()


# ---- classes ----------------------------------------------------------------------------------------------------
def by_hand(classes: torch.Tensor) -> Statistics:
    """Statistics ``[K, 3, 2]`` of one layer of two channels; of all data: mean 0, variance 1."""
    whole = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    return Statistics([Segment("0", 2, 0)], 0, whole, classes)


CLASSES = torch.tensor(
    [
        [[1.0, 0.0], [2.0, 1.0], [1.5, 0.5]],
        [[5.0, -2.0], [4.0, 3.0], [2.5, 1.0]],
        [[9.0, 9.0], [9.0, 9.0], [9.0, 9.0]],
    ]
)


def test_a_mixture_of_two_classes_by_hand() -> None:
    """Three images of class 0, one of class 1. Channel 0: mean .75 + 1.25 = 2, variance .75 * 2 + .25 * 4 + .75 * 1 +
    .25 * 9 = 5.5. Channel 1: mean -.5, variance .75 + .75 + .75 * .25 + .25 * 2.25 = 2.25."""
    got = by_hand(CLASSES).of_classes([0, 0, 1, 0], "total", torch.device("cpu"))["0"]
    assert got.mean.tolist() == [2.0, -0.5] and got.var.tolist() == [5.5, 2.25]
    within = by_hand(CLASSES).of_classes([0, 0, 1, 0], "within_image", torch.device("cpu"))["0"]
    assert within.mean.tolist() == [2.0, -0.5]
    assert within.var.tolist() == [1.75, 0.625]  # .75 * 1.5 + .25 * 2.5 and .75 * .5 + .25 * 1


def test_a_mixture_is_that_of_the_pooled_values() -> None:
    """Lemma B.3 of EDC: the total variance of pooled classes, exactly."""
    draws = [Key(("values", c)).normal(3, 40).astype(np.float64) * (1 + c) + c for c in range(2)]
    rows = torch.tensor(np.array([[d.mean(axis=1), d.var(axis=1)] for d in draws]))
    known = Statistics([Segment("0", 3, 0)], 0, rows[0], rows)
    got = known.of_classes([0, 1, 1, 1], "total", torch.device("cpu"))["0"]
    pooled = np.concatenate([draws[0], draws[1], draws[1], draws[1]], axis=1)
    np.testing.assert_allclose(got.mean, pooled.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(got.var, pooled.var(axis=1), rtol=1e-6)


@pytest.mark.parametrize("category", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("moment", ["total", "within_image"])
def test_the_blend_of_all_data_and_the_batchs_classes(category: float, moment: str) -> None:
    layer = nn.Sequential(nn.BatchNorm2d(2)).eval()  # running mean 0, variance 1
    x = pixels(4, 4, channels=2)
    guide = guided(layer, statistics=by_hand(CLASSES))
    got = judged(made(category=category, moment=moment, first_multiplier=1.0), guide, x, [0, 0, 1, 0])
    mean, var = x.numpy().mean(axis=(0, 2, 3)), x.numpy().var(axis=(0, 2, 3))
    variance = [5.5, 2.25] if moment == "total" else [1.75, 0.625]
    whole = np.linalg.norm(mean - [0, 0]) + np.linalg.norm(var - [1, 1])
    own = np.linalg.norm(mean - [2.0, -0.5]) + np.linalg.norm(var - variance)
    assert got.item() == pytest.approx((1 - category) * whole + category * own, rel=1e-5)


def test_one_class_alone_is_its_own_statistics() -> None:
    got = by_hand(CLASSES).of_classes([1, 1, 1], "total", torch.device("cpu"))["0"]
    assert got.mean.tolist() == [5.0, -2.0] and got.var.tolist() == [4.0, 3.0]


def test_statistics_that_are_not_there_are_named() -> None:
    layer = nn.Sequential(nn.BatchNorm2d(2)).eval()
    with pytest.raises(ValueError, match="category > 0 needs statistics of the real data by class"):
        judged(made(category=0.5), layer, pixels(2, 4, channels=2))
    without = Statistics([Segment("0", 2, 0)], 0, torch.ones(2, 2))
    with pytest.raises(ValueError, match="not collected by class"):
        without.of_classes([0], "total", torch.device("cpu"))
    with pytest.raises(ValueError, match="no variances within single images"):
        by_hand(CLASSES[:, :2]).of_classes([0], "within_image", torch.device("cpu"))


def test_a_class_that_is_not_in_the_batch_has_no_say() -> None:
    other = CLASSES.clone()
    other[2] = -7.0
    x, layer = pixels(4, 4, channels=2), nn.Sequential(nn.BatchNorm2d(2)).eval()
    values = [
        judged(made(category=1.0), guided(layer, statistics=by_hand(c)), x, [0, 0, 1, 0]).item()
        for c in (CLASSES, other)
    ]
    assert values[0] == values[1]


def test_the_order_of_images_does_not_matter() -> None:
    net = network()
    guide, labels = guided(net, statistics=invented(net, 8, 0, 3)), [0, 2, 2, 1]
    component, p = made(category=0.5), order(4)
    other = judged(component, guide, X[p], [labels[n] for n in p])
    assert other.item() == pytest.approx(judged(component, guide, X, labels).item(), rel=1e-10)


def test_it_looks_only_at_its_own_layers() -> None:
    net = network()
    look = look_at(made(), guided(net), X)
    assert set(look.taps) == {"bn"}
    assert {look.guide.layers[n].name for n in look.taps["bn"].positions} == set(NAMES)
