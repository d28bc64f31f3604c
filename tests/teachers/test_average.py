"""The running average of weights: its numbers, what is tested with it, and how it goes on after a cut."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raydc.config.axes.optimize import Adam, Sgd, Training
from raydc.config.stages.evaluate import WeightAverage
from raydc.config.stages.networks import Arch
from raydc.errors import DataError
from raydc.keys import Key
from raydc.teachers.average import Average
from raydc.teachers.fit import Fit
from raydc.teachers.networks import build
from raydc.teachers.targets import Hard

RECIPE = Training(epochs=2, optimizer=Sgd(use="sgd", lr=0.5))


def network() -> nn.Module:
    return build(Arch(use="small", name="resnet", options={"widths": [4], "blocks": [1]}), 4, 8, Key((1,)))


def steps(fit: Fit, *numbers: int) -> None:
    for number in numbers:
        key = Key(("batch", number))
        x, labels = torch.from_numpy(key.uniform(6, 3, 8, 8)).float(), key.child("y").integers(0, 4, 6)
        fit.step(x, Hard(torch.from_numpy(labels)))


@pytest.mark.parametrize(("warmup", "expected"), [(False, [1.0, 1.1, 1.29]), (True, [1.0, 1.8182, 2.7045])])
def test_the_average_has_golden_numbers(warmup: bool, expected: list[float]) -> None:
    layer = nn.Linear(1, 1, bias=False)
    values = iter([2.0, 3.0])
    with torch.no_grad():
        layer.weight.fill_(1.0)
    average, found = Average(layer, WeightAverage(decay=0.9, warmup=warmup)), [1.0]
    for step, value in enumerate(values, start=1):
        with torch.no_grad():
            layer.weight.fill_(value)
        average.update(step)
        found.append(average.tensors["weight"].item())
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("buffers", [True, False])
def test_tests_use_the_average_and_leave_the_live_weights_alone(buffers: bool) -> None:
    fit = Fit(network(), RECIPE, key=Key((1,)), average=WeightAverage(decay=0.5, buffers=buffers, warmup=False))
    fit.start_epoch(0)
    steps(fit, 0, 1, 2)
    live = {name: value.clone() for name, value in fit.network.state_dict().items()}
    x, labels = torch.from_numpy(Key((3,)).uniform(200, 3, 8, 8)).float(), torch.arange(200) % 4
    found = fit.test([(x, labels)])
    assert all(torch.equal(value, live[name]) for name, value in fit.network.state_dict().items())
    averaged = network()
    averaged.load_state_dict({**live, **(fit.average.tensors if fit.average else {})})
    plain = Fit(averaged, RECIPE, key=Key((1,)))
    assert found == plain.test([(x, labels)])
    assert any("running_mean" in name for name in fit.average.tensors) == buffers


def test_the_average_is_part_of_the_state() -> None:
    def fit() -> Fit:
        made = Fit(network(), RECIPE, key=Key((1,)), average=WeightAverage())
        made.start_epoch(0)
        return made

    whole, cut, resumed = fit(), fit(), fit()
    steps(whole, 0, 1, 2, 3)
    steps(cut, 0, 1)
    resumed.load_state(*cut.state())
    steps(resumed, 2, 3)
    (one, _), (other, _) = whole.state(), resumed.state()
    assert one.keys() == other.keys() and any(name.startswith("average.") for name in one)
    assert all(torch.equal(one[name], other[name]) for name in one)
    without = Fit(network(), RECIPE, key=Key((1,)))
    with pytest.raises(DataError, match=r"average of 0 tensors .* another evaluate.average"):
        fit().load_state(*without.state())


def test_adam_is_torchs_with_decay_on_matrices_only() -> None:
    recipe = Training(epochs=1, optimizer=Adam(use="adam", lr=0.01, weight_decay=0.1))
    fit = Fit(network(), recipe, key=Key((1,)))
    decays = {p.dim() > 1: g["weight_decay"] for g in fit.optimizer.param_groups for p in g["params"]}
    assert decays == {True: 0.1, False: 0.0} and type(fit.optimizer) is torch.optim.Adam
    head = {name: p for name, p in fit.network.named_parameters() if name.startswith("head")}
    before = {name: p.detach().clone() for name, p in head.items()}
    fit.start_epoch(0)
    steps(fit, 0)
    for name, p in head.items():  # Adam's first step is lr times the sign of the gradient, decay included
        gradient = p.grad + (0.1 * before[name] if p.dim() > 1 else 0)
        assert torch.allclose(p, before[name] - 0.01 * gradient.sign(), atol=1e-5)
