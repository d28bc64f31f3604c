"""The BN term against numbers worked out by hand, and its gradient against the formula (specification, 1.2)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from raydc.condense.discrepancy.bn_statistics import BNStatisticsTerm
from raydc.condense.observer import layers
from raydc.config.axes.discrepancy import BNStatistics
from tests.condense.nets import TinyConvNet, TinyResNet, at, frozen, guided, judged, look_at, order, pixels


def batch_norm(mean: list[float], var: list[float], scale: list[float], shift: list[float]) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(len(mean), eps=0.0)
    layer.load_state_dict(
        {
            "running_mean": torch.tensor(mean),
            "running_var": torch.tensor(var),
            "weight": torch.tensor(scale),
            "bias": torch.tensor(shift),
            "num_batches_tracked": torch.tensor(1),
        }
    )
    return layer


def term(network: nn.Module, x: torch.Tensor, first_multiplier: float = 1.0) -> torch.Tensor:
    return judged(BNStatisticsTerm(BNStatistics(use="bn_statistics", first_multiplier=first_multiplier)), network, x)


def two_layers() -> nn.Module:
    """Two channels, two layers; between them only the first layer's own affine map, by running statistics."""
    first = batch_norm([1.0, -2.0], [4.0, 1.0], [2.0, 1.0], [0.5, 0.0])
    second = batch_norm([0.0, 1.0], [1.0, 9.0], [1.0, 1.0], [0.0, 0.0])
    return nn.Sequential(first, second).eval()


X = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]], [[[5.0, 7.0]], [[-2.0, 0.0]]]])
"""Two images of two channels of 1x2 pixels. Channel 0 holds 1, 3, 5, 7 and channel 1 holds 0, 2, -2, 0."""


def test_two_layers_by_hand() -> None:
    # Layer 1 sees x. Channel 0: mean (1+3+5+7)/4 = 4, biased variance (9+1+1+9)/4 = 5.
    # Channel 1: mean 0, biased variance (0+4+4+0)/4 = 2.
    # Against means (1, -2) and variances (4, 1): mean differences (3, 2), variance differences (1, 1).
    first = math.sqrt(3**2 + 2**2) + math.sqrt(1**2 + 1**2)
    # What propagates is normalised by RUNNING statistics. Channel 0: 2 (x - 1) / 2 + 0.5 = x - 0.5: mean 3.5,
    # variance 5. Channel 1: (x + 2) / 1 = x + 2: mean 2, variance 2.
    # Against means (0, 1) and variances (1, 9): mean differences (3.5, 1), variance differences (4, -7).
    second = math.sqrt(3.5**2 + 1**2) + math.sqrt(4**2 + 7**2)
    assert term(two_layers(), X, 1.0).item() == pytest.approx(first + second, rel=1e-6)
    assert term(two_layers(), X, 10.0).item() == pytest.approx(10 * first + second, rel=1e-6)
    assert term(two_layers(), X, 0.0).item() == pytest.approx(second, rel=1e-6)


def test_norms_are_not_squared_and_not_averaged() -> None:
    layer = nn.Sequential(batch_norm([0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]).eval())
    constant = torch.ones(1, 2, 4, 4) * torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    layer[0].running_var.zero_()
    layer[0].eps = 1.0
    assert term(layer, constant).item() == pytest.approx(5.0)  # ||(3, 4)||; squared 25, averaged 2.5
    assert term(layer, 2 * constant).item() == pytest.approx(10.0)


def test_the_variance_is_biased() -> None:
    layer = nn.Sequential(batch_norm([0.0], [0.5], [1.0], [0.0]).eval())
    pair = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    assert term(layer, pair).item() == pytest.approx(0.5)  # biased 1 - 0.5; unbiased 2 - 0.5


def test_one_layer_takes_the_first_multiplier() -> None:
    layer = nn.Sequential(batch_norm([1.0], [1.0], [1.0], [0.0]).eval())
    x = torch.zeros(2, 1, 2, 2)
    assert term(layer, x, 10.0).item() == pytest.approx(20.0)


# ---- which layers, in which order -------------------------------------------------------------------------------
class Backwards(nn.Module):
    """The layer registered last is reached first."""

    def __init__(self) -> None:
        super().__init__()
        self.a = batch_norm([0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0])
        self.b = batch_norm([5.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(self.b(x))


def test_each_layer_is_held_against_its_own_statistics_whatever_order_they_run_in() -> None:
    network = Backwards().eval()
    # b sees x: means (4, 0), variances (5, 2), against (5, 0), (1, 1); a sees x - (5, 0): means (-1, 0).
    of_b = 1.0 + math.sqrt(4**2 + 1**2)
    of_a = 1.0 + math.sqrt(4**2 + 1**2)
    assert term(network, X, 1.0).item() == pytest.approx(of_a + of_b, rel=1e-6)
    network.a.running_mean.copy_(torch.tensor([-1.0, 0.0]))
    # Now a matches its mean. The multiplier goes to the first layer of modules(), a.
    assert term(network, X, 10.0).item() == pytest.approx(10 * math.sqrt(17) + of_b, rel=1e-6)


def test_layers_come_in_module_order() -> None:
    network = frozen(TinyResNet())
    component = BNStatisticsTerm(BNStatistics(use="bn_statistics"))
    look = look_at(component, guided(network), pixels(2, 8))
    assert [look.guide.layers[n].name for n in look.taps["bn"].positions] == ["bn1", "bn2", "bn3", "downsample.1"]


def test_a_layer_that_the_pass_does_not_reach_is_left_out() -> None:
    class Auxiliary(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[0](x)

    wrapped = Auxiliary(two_layers(), nn.BatchNorm2d(7)).eval()
    assert term(wrapped, X, 10.0).item() == pytest.approx(term(two_layers(), X, 10.0).item())


def test_layers_without_running_statistics_are_no_target() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), two_layers()).eval()
    assert [layer.name for layer in layers(network)] == ["1.0", "1.1"]


def test_a_network_without_batch_norm_has_nothing_to_say_and_pulls_nowhere() -> None:
    x = pixels(2, 6).requires_grad_(True)
    value = term(frozen(TinyConvNet()), x, 10.0)
    value.backward()
    assert value.item() == 0.0 and torch.equal(x.grad, torch.zeros_like(x))


def test_a_network_in_training_mode_is_refused_because_it_would_drift() -> None:
    network = frozen(TinyResNet()).train()
    with pytest.raises(ValueError, match="BatchNorm layers are in training mode: bn1"):
        term(network, pixels(2, 6))


def test_looking_leaves_no_hooks_behind() -> None:
    network = two_layers()
    term(network, X)
    assert all(not m._forward_pre_hooks for m in network.modules())


def test_the_order_of_images_does_not_matter() -> None:
    network = frozen(TinyResNet()).double()
    x = pixels(6, 8).double()
    assert term(network, x[order(6)], 10.0).item() == pytest.approx(term(network, x, 10.0).item(), rel=1e-12)


# ---- precision --------------------------------------------------------------------------------------------------
def test_statistics_of_bfloat16_activations_are_in_float32() -> None:
    """Near 100 bfloat16 has steps of a half: a sum in bfloat16 would miss a mean of 100.25 and a variance of 1/16."""
    network = nn.Sequential(batch_norm([0.0], [1.0], [1.0], [0.0])).eval().to(torch.bfloat16)
    x = torch.full((4, 1, 32, 32), 100.0)
    x[::2] = 100.5
    component = BNStatisticsTerm(BNStatistics(use="bn_statistics"))
    look = look_at(component, guided(network), x.to(torch.bfloat16))
    mean, variance = at(look.taps["bn"], 0)[:2]
    assert mean.dtype == variance.dtype == component(look).dtype == torch.float32
    assert mean.item() == pytest.approx(100.25, abs=1e-4) and variance.item() == pytest.approx(0.0625, abs=1e-4)


def test_a_network_in_bfloat16_is_within_two_percent() -> None:
    """Eight bits of mantissa in activations, sums in fp32: roundings of single values average out."""
    network, x = frozen(TinyResNet()), pixels(6, 8)
    single = term(network, x, 10.0).item()
    assert term(network.to(torch.bfloat16), x.to(torch.bfloat16), 10.0).item() == pytest.approx(single, rel=0.02)


# ---- gradient ---------------------------------------------------------------------------------------------------
def test_gradient_against_finite_differences() -> None:
    network = frozen(TinyResNet(width=3)).double()
    x = pixels(3, 6).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: term(network, v, 10.0), (x,), eps=1e-6, atol=1e-6, rtol=1e-5)


def analytic(a: np.ndarray, running_mean: np.ndarray, running_var: np.ndarray, weight: float) -> np.ndarray:
    """w (dmu_c + 2 dv_c (a - mu_c)) / N, dmu and dv the unit vectors of the differences (specification, 1.2)."""
    mu, var = a.mean(axis=(0, 2, 3)), a.var(axis=(0, 2, 3))
    dmu = (mu - running_mean) / np.linalg.norm(mu - running_mean)
    dv = (var - running_var) / np.linalg.norm(var - running_var)
    each = (slice(None), None, None)
    count = a.size / a.shape[1]
    return weight * (dmu[each] + 2 * dv[each] * (a - mu[each])) / count


def test_gradient_against_the_formula() -> None:
    layer = frozen(nn.Sequential(nn.BatchNorm2d(4))).double()
    a = pixels(3, 5, channels=4).double().requires_grad_(True)
    term(layer, a, 10.0).backward()
    expected = analytic(a.detach().numpy(), layer[0].running_mean.numpy(), layer[0].running_var.numpy(), 10.0)
    np.testing.assert_allclose(a.grad.numpy(), expected, rtol=1e-10, atol=1e-14)


def test_gradient_of_two_layers_against_the_formula() -> None:
    """The formula at each input, carried back by the frozen layers between: both terms, the first times ten."""
    network = frozen(nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3))).double()
    first, conv, second = network
    a = pixels(3, 5, channels=4).double().requires_grad_(True)
    term(network, a, 10.0).backward()
    deep = conv(first(a))
    at_second = analytic(deep.detach().numpy(), second.running_mean.numpy(), second.running_var.numpy(), 1.0)
    (carried,) = torch.autograd.grad(deep, a, torch.from_numpy(at_second))
    own = analytic(a.detach().numpy(), first.running_mean.numpy(), first.running_var.numpy(), 10.0)
    np.testing.assert_allclose(a.grad.numpy(), own + carried.numpy(), rtol=1e-10, atol=1e-14)


def test_a_layer_that_matches_exactly_pulls_nowhere() -> None:
    layer = nn.Sequential(batch_norm([0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0])).eval()
    x = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).repeat(1, 2, 2, 2).requires_grad_(True)
    loss = term(layer, x, 10.0)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(x.grad, torch.zeros_like(x))
