"""Adam on pixels is torch's, to the last bit."""

from __future__ import annotations

import torch

from raydc.condense.adam import Adam
from raydc.config.axes.optimize import PixelAdam
from raydc.keys import Key


def test_every_step_is_that_of_torch() -> None:
    config = PixelAdam(lr=0.1, betas=(0.5, 0.9), eps=1e-6)
    start = torch.from_numpy(Key(("adam",)).normal(2, 3, 8, 8)).float()
    ours, theirs = start.clone().requires_grad_(True), start.clone().requires_grad_(True)
    adam, reference = Adam(ours, config), torch.optim.Adam([theirs], betas=config.betas, eps=config.eps)
    for step in range(7):
        for x in (ours, theirs):
            x.grad = None
            (x**2).sum().sin().backward()
        rate = 0.1 / (1 + step)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        adam.step(rate)
        assert torch.equal(ours, theirs), step
    moments = reference.state[theirs]
    assert torch.equal(adam.exp_avg, moments["exp_avg"]) and torch.equal(adam.exp_avg_sq, moments["exp_avg_sq"])
    assert adam.steps == moments["step"] == 7


def test_nothing_moves_without_a_gradient() -> None:
    x = torch.ones(3, requires_grad=True)
    adam = Adam(x, PixelAdam(lr=0.1))
    adam.step(0.1)
    assert torch.equal(x, torch.ones(3)) and adam.steps == 0
