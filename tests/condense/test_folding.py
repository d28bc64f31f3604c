"""BatchNorm folded into convolutions: the same answers, and left alone wherever they would be others."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from raydc.condense.execution import folded
from tests.condense.nets import TinyConvNet, TinyMobile, TinyResNet, frozen, pixels


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def same(network: nn.Module, other: nn.Module, tolerance: float = 1e-12) -> None:
    x = pixels(3, 8).to(next(network.parameters()).dtype)
    with torch.no_grad():
        wanted, found = network(x), other(x)
    assert (wanted - found).abs().max() <= tolerance * wanted.abs().max()


@pytest.mark.parametrize(("make", "left"), [(TinyResNet, 0), (TinyMobile, 0), (TinyConvNet, 0)])
def test_what_can_be_folded_is_and_answers_the_same(make: type[nn.Module], left: int) -> None:
    network = frozen(make()).double()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    made = folded(network)
    assert norms(made) == left and not any(p.requires_grad for p in made.parameters())
    same(network, made)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    same(frozen(make()), folded(frozen(make())), 2e-6)


class Pair(nn.Module):
    """A convolution and its BatchNorm, in ways that cannot be folded."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv = (Standardized if way == "weight of its own" else nn.Conv2d)(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        if way == "tied":
            self.twin = nn.Conv2d(3, 3, 3, padding=1)
            self.twin.weight = self.conv.weight
        if way == "two names":
            self.alias = self.conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = (self.alias if self.way == "two names" else self.conv)(x)
        if self.way == "read by others":
            return self.norm(u) + u
        if self.way == "called twice":
            return self.norm(u) + self.norm(self.conv(u))
        if self.way == "tied":
            return self.norm(u) + self.twin(x)
        if self.way == "weight read":
            return self.norm(u) * self.conv.weight.sum()
        if self.way == "not traced" and bool(u.sum() > 1e9):
            return u
        if self.way == "something between":
            u = F.relu(u)
        return self.norm(u)


class Standardized(nn.Conv2d):
    """It centres its weight: a scale on it is not a scale on its answer's bias alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight / self.weight.std(dim=(1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, padding=1)


WAYS = [
    "read by others", "called twice", "tied", "two names", "weight read", "not traced", "something between",
    "weight of its own",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_would_answer_otherwise_is_left_alone(way: str) -> None:
    network = frozen(Pair(way)).double()
    made = folded(network)
    assert norms(made) == 1
    same(network, made, 0.0)


def test_statistics_of_the_batch_are_never_folded() -> None:
    network = frozen(Pair("")).double()
    assert norms(folded(network)) == 0
    network.norm.training = True
    assert norms(folded(network)) == 1


def test_without_weights_of_its_own_batchnorm_is_folded_too() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False, groups=1), nn.BatchNorm2d(4, affine=False))
    made = folded(frozen(network).double())
    assert norms(made) == 0
    same(network, made)
