"""Training steps by other executions: nearly the same network, weights in fp32, and a resume that is the same step."""

from __future__ import annotations

import json

import pytest
import torch

from raydc.config.axes.execution import EAGER, EXECUTIONS
from raydc.keys import Key
from raydc.teachers.fit import Fit
from tests.teachers.test_fit import ADAMW, SGD, batch, recipe, resnet


def fitted(name: str, steps: int = 3, optimizer: object = SGD, device: str = "cpu") -> Fit:
    fit = Fit(resnet(), recipe(4, optimizer=optimizer), key=Key((1,)), execution=EXECUTIONS[name], device=device)  # type: ignore[arg-type]
    fit.start_epoch(0)
    for step in range(steps):
        x, target = batch(step, 16)
        fit.step(x.to(device), type(target)(target.labels.to(device)))
    return fit


def weights(fit: Fit) -> torch.Tensor:
    return torch.cat([p.detach().flatten().double().cpu() for p in fit.network.parameters()])


def moved(fit: Fit, base: Fit) -> float:
    """How far two fits are from each other, as a share of the way that the second one went."""
    start = torch.cat([p.detach().flatten().double() for p in resnet().parameters()])
    return float((weights(fit) - weights(base)).norm() / (weights(base) - start).norm())


@pytest.mark.parametrize(("name", "least", "most"), [("eager-bf16", 1e-4, 0.1), ("eager-fp16", 1e-5, 0.02)])
def test_16_bits_go_nearly_the_same_way_with_weights_in_32(name: str, least: float, most: float) -> None:
    base, fit = fitted("eager"), fitted(name)
    assert least < moved(fit, base) < most
    assert all(p.dtype == torch.float32 for p in fit.network.parameters())


def test_compiled_the_steps_are_the_same_and_so_is_a_smaller_batch() -> None:
    base, fit = fitted("eager", 2), fitted("compiled", 2)
    assert moved(fit, base) < 1e-4
    for one in (base, fit):
        one.step(*batch(9, 5))
    assert moved(fit, base) < 1e-4
    x, target = batch(3)
    assert fit.test([(x, target.labels)]) == base.test([(x, target.labels)])


@pytest.mark.parametrize("name", ["eager-bf16", "eager-fp16"])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_what_goes_on_from_its_state_takes_the_same_step(name: str, optimizer: object) -> None:
    whole, half = fitted(name, 6, optimizer), fitted(name, 3, optimizer)
    tensors, numbers = half.state()
    other = fitted(name, 1, optimizer)
    other.load_state({k: v.clone() for k, v in tensors.items()}, json.loads(json.dumps(numbers)))
    for step in range(3, 6):
        other.step(*batch(step, 16))
    assert torch.equal(weights(other), weights(whole))


def test_a_step_that_overflows_changes_nothing_and_the_scale_is_halved_and_kept() -> None:
    fit = fitted("eager-fp16", 1)
    before, scale = weights(fit), fit.state()[1]["scaler"]["scale"]
    x, target = batch(1, 16)
    x[0, 0, 0, 0] = 1e9
    fit.step(x, target)
    tensors, numbers = fit.state()
    assert torch.equal(weights(fit), before) and numbers["scaler"]["scale"] == scale / 2 and numbers["steps"] == 2
    other = fitted("eager-fp16", 0)
    other.load_state(tensors, numbers)
    assert other.state()[1] == numbers


def test_the_eager_step_in_fp32_keeps_no_more_than_before() -> None:
    assert fitted(EAGER.name, 1).state()[1] == {"steps": 1}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only a GPU can tell")
def test_on_a_gpu_compiled_steps_in_fp16_go_nearly_the_same_way() -> None:
    assert moved(fitted("compiled-fp16", device="cuda"), fitted("eager", device="cuda")) < 0.02
