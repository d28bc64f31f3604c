"""Optimiser, schedule, steps, tests and data parallelism of one network."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from raydc.config.axes.optimize import AdamW, Cosine, OneCycle, Optimizer, Schedule, Sgd, Training
from raydc.config.stages.evaluate import WeightAverage
from raydc.config.stages.networks import Arch, Normalize
from raydc.errors import DataError
from raydc.keys import Key
from raydc.teachers.fit import Fit, make_optimizer
from raydc.teachers.networks import build
from raydc.teachers.targets import Hard

from .ranks import on_ranks

SGD = Sgd(use="sgd", lr=0.1, momentum=0.9, weight_decay=0.01)
ADAMW = AdamW(use="adamw", lr=0.01, weight_decay=0.1)


def recipe(epochs: int, schedule: Schedule = Cosine(), optimizer: Optimizer = SGD) -> Training:
    return Training(epochs=epochs, optimizer=optimizer, schedule=schedule)


def resnet(classes: int = 4) -> nn.Module:
    return build(Arch(use="small", name="resnet", options={"widths": [4], "blocks": [1]}), classes, 8, Key((1,)))


def batch(step: int, count: int = 6) -> tuple[torch.Tensor, Hard]:
    key = Key(("batch", step))
    x = torch.from_numpy(key.uniform(count, 3, 8, 8)).float()
    return x, Hard(torch.from_numpy(key.child("labels").integers(0, 4, count)))


def test_adamw_decays_matrices_only_and_sgd_everything() -> None:
    decays = {p.dim() > 1: g["weight_decay"] for g in make_optimizer(resnet(), ADAMW).param_groups for p in g["params"]}
    assert decays == {True: 0.1, False: 0.0}
    counted = sum(len(g["params"]) for g in make_optimizer(resnet(), ADAMW).param_groups)
    assert counted == len(list(resnet().parameters()))
    assert [g["weight_decay"] for g in make_optimizer(resnet(), SGD).param_groups] == [0.01]


def test_the_learning_rate_is_a_cosine_by_epochs() -> None:
    fit = Fit(resnet(), recipe(10), key=Key((1,)))
    assert fit.lr(0) == 0.1
    assert fit.lr(5) == pytest.approx(0.05)
    assert Fit(resnet(), recipe(10, Cosine(zeta=2.0)), key=Key((1,))).lr(10) == pytest.approx(0.05)
    assert fit.start_epoch(3) == pytest.approx(0.05 * (1 + math.cos(0.3 * math.pi)))
    assert {g["lr"] for g in fit.optimizer.param_groups} == {fit.lr(3)}


@pytest.mark.parametrize("kind", [SGD, ADAMW])
def test_a_step_is_the_step_of_plain_torch(kind: Sgd | AdamW) -> None:
    fit = Fit(resnet(), recipe(2, optimizer=kind), key=Key((1,)),
              normalize=Normalize(mean=(0.5,) * 3, std=(0.25,) * 3))  # fmt: skip
    plain, optimizer = resnet(), None
    optimizer = make_optimizer(plain, kind)
    fit.start_epoch(0)
    for step in range(3):
        x, target = batch(step)
        fit.step(x, target)
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain((x - 0.5) / 0.25), target.labels).backward()
        optimizer.step()
    for mine, theirs in zip(fit.network.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.allclose(mine, theirs, atol=2e-5)


def test_one_cycle_moves_at_every_step_and_others_once_an_epoch() -> None:
    moving = Fit(resnet(), recipe(2, OneCycle(use="one_cycle", rise=0.5, div=10)), key=Key((1,)), pace=4)
    still = Fit(resnet(), recipe(2), key=Key((1,)), pace=4)
    rates: dict[Fit, list[float]] = {moving: [], still: []}
    for fit, seen in rates.items():
        for epoch in range(2):
            fit.start_epoch(epoch)
            for step in range(4):
                fit.step(*batch(step))
                seen.append(fit.optimizer.param_groups[0]["lr"])
    assert rates[still] == [0.1] * 4 + [pytest.approx(0.05)] * 4
    rise, fall = rates[moving][:4], rates[moving][4:]
    assert rise[0] == pytest.approx(0.01) and rise[2] == pytest.approx(0.055) and fall[0] == pytest.approx(0.1)
    assert sorted(rise) == rise and sorted(fall, reverse=True) == fall and len(set(rise + fall)) == 8
    assert moving.lr(0) == pytest.approx(0.01)


def test_dropout_is_keyed() -> None:
    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 4))
        network.load_state_dict({"2.weight": torch.ones(4, 192) / 10, "2.bias": torch.zeros(4)})
        fit = Fit(network, recipe(1), key=Key((5,)))
        fit.start_epoch(0)
        return torch.stack([fit.step(*batch(0)) for _ in range(3)])

    assert torch.equal(run(1), run(2))
    assert len(set(run(1).tolist())) == 3


def test_top1_and_top5_are_fractions_of_all_images() -> None:
    class Ranked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * torch.arange(8.0).flip(0).expand(len(x), 8)

    fit = Fit(Ranked(), recipe(1), key=Key((1,)))
    images = torch.zeros(4, 3, 8, 8)
    batches = [(images, torch.tensor([0, 0, 4, 5])), (images[:1], torch.tensor([7]))]
    assert fit.test(batches) == (2 / 5, 3 / 5)
    with pytest.raises(DataError, match="no images to test on"):
        fit.test([])


def test_fewer_than_five_classes_have_a_top5_of_one() -> None:
    fit = Fit(resnet(), recipe(1), key=Key((1,)))
    assert fit.test([(torch.rand(9, 3, 8, 8), torch.zeros(9, dtype=torch.int64))])[1] == 1.0


def test_a_state_of_another_network_is_refused() -> None:
    fit = Fit(resnet(4), recipe(1), key=Key((1,)))
    with pytest.raises(DataError, match="of another network"):
        Fit(resnet(5), recipe(1), key=Key((1,))).load_state(*fit.state())


def train(fit: Fit) -> tuple[dict[str, torch.Tensor], tuple[float, float]]:
    """Steps on batches of which the last has fewer rows than three ranks, and a test."""
    fit.start_epoch(0)
    for step, count in enumerate((6, 5, 2)):
        x, target = batch(step, count)
        lent = fit.rank >= count
        mine = slice(0, 1) if lent else slice(fit.rank, None, fit.world)
        fit.step(x[mine], Hard(target.labels[mine]), count, lent)
    x, target = batch(9, 7)
    top = fit.test([(x[fit.rank :: fit.world], target.labels[fit.rank :: fit.world])])
    return fit.state()[0], top


def averaged(group: distributed.ProcessGroup | None = None) -> Fit:
    return Fit(resnet(), recipe(2), key=Key((1,)), average=WeightAverage(), group=group)


def on_one_rank(group: distributed.ProcessGroup) -> tuple[dict[str, torch.Tensor], tuple[float, float]]:
    return train(averaged(group))


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_train_like_one(tmp_path: Path, world: int) -> None:
    """Weights, statistics of BatchNorm, momentum and average: of all ranks to the bit, of one worker by rounding."""
    alone, top = train(averaged())
    ranks = on_ranks(on_one_rank, world, tmp_path)
    assert {top for _, top in ranks} == {top}
    for name, value in alone.items():
        assert torch.allclose(ranks[0][0][name], value, atol=1e-6), name
        assert all(torch.equal(state[name], ranks[0][0][name]) for state, _ in ranks), name
    assert any(name.endswith("running_var") for name in alone)
