"""BatchNorm over several ranks against torch's own on the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm.layers
import torch
from torch import distributed, nn

from raydc.keys import Key
from raydc.teachers.batchnorm import Together

from .ranks import on_ranks

ROWS = 5
LAYERS = {
    "2d": lambda: nn.BatchNorm2d(3, eps=1e-3, momentum=0.3),
    "bare": lambda: nn.BatchNorm2d(3, affine=False, track_running_stats=False),
    "1d": lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12)),
    "with an activation": lambda: timm.layers.BatchNormAct2d(3),
    "two": lambda: nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.SiLU(), nn.BatchNorm2d(4)),
}


def draw(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(Key(("batchnorm", name)).uniform(*shape)) * 3 + 1


def made(kind: str) -> nn.Module:
    layer = LAYERS[kind]().double().train()
    for name, p in layer.named_parameters():
        p.data = draw(name, *p.shape)
    return layer


def passed(layer: nn.Module, rows: slice, group: distributed.ProcessGroup | None, lent: bool = False) -> dict[str, Any]:
    """Outputs, the gradients of a weighted sum of their squares, and buffers, after two steps."""
    for step in range(2):
        x = draw(f"x{step}", ROWS, 3, 2, 2)[rows].requires_grad_()
        layer.zero_grad()
        if group is None:
            y = layer(x)
        else:
            with Together(group, counted=not lent):
                y = layer(x)
        weights = draw("weights", ROWS, *y.shape[1:])[rows]
        ((weights * y.square()).sum() * (0.0 if lent else 1.0)).backward()
    found = {"y": y.detach(), "x": x.grad, **{f"d {n}": p.grad for n, p in layer.named_parameters()}}
    return found | {f"b {n}": b for n, b in layer.named_buffers()}


def on_one_rank(group: distributed.ProcessGroup) -> dict[str, Any]:
    rank, world = distributed.get_rank(group), distributed.get_world_size(group)
    dealt = {kind: passed(made(kind), slice(rank, None, world), group) for kind in LAYERS}
    # As many rows as ranks but one: the last rank lends the first row.
    few = {"few": passed(made("two"), slice(rank, rank + 1) if rank else slice(0, ROWS), group, lent=rank > 0)}
    x = draw("x0", 4, 3, 2, 2)[2 * rank : 2 * rank + 2]
    with Together(group):
        evaluated = made("2d").eval()(x)
    return dealt | few | {"evaluated": torch.equal(evaluated, made("2d").eval()(x))}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_ranks(on_one_rank, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("kind", LAYERS)
def test_ranks_with_unequal_rows_have_the_statistics_and_gradients_of_all(
    ranks: list[dict[str, Any]], kind: str
) -> None:
    whole, parts = passed(made(kind), slice(None), None), [rank[kind] for rank in ranks]
    assert [len(part["y"]) for part in parts] == [3, 2]
    for what, value in whole.items():
        for r, part in enumerate(parts):
            if what in ("y", "x"):
                assert torch.allclose(part[what], value[r::2], rtol=1e-10, atol=1e-12), what
            elif what.startswith("b "):
                assert torch.allclose(part[what], value, rtol=1e-12) and torch.equal(part[what], parts[0][what])
        if what.startswith("d "):
            assert torch.allclose(parts[0][what] + parts[1][what], value, rtol=1e-10), what


def test_a_lent_row_is_in_no_statistic_and_no_gradient(ranks: list[dict[str, Any]]) -> None:
    whole, (mine, lent) = passed(made("two"), slice(None), None), [rank["few"] for rank in ranks]
    for what, value in whole.items():
        assert torch.allclose(mine[what], value, rtol=1e-10, atol=1e-12), what
        if what == "x" or what.startswith("d "):
            assert not lent[what].any(), what


def test_in_tests_nothing_is_asked_of_other_ranks(ranks: list[dict[str, Any]]) -> None:
    assert all(rank["evaluated"] for rank in ranks)


def test_the_gradient_is_that_of_the_function(tmp_path: Path) -> None:
    meet = f"file://{tmp_path}/meet"
    distributed.init_process_group("gloo", init_method=meet, rank=0, world_size=1)
    try:

        def function(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
            with Together(distributed.group.WORLD):
                return nn.functional.batch_norm(x, None, None, weight, bias, True)

        inputs = [draw(n, *s).requires_grad_() for n, s in (("x", (3, 2, 2)), ("w", (2,)), ("b", (2,)))]
        assert torch.autograd.gradcheck(function, inputs)
    finally:
        distributed.destroy_process_group()
