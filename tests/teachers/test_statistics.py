"""Sums over images: whatever they are split into, they give the moments of all values, by class and of all."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from raydc.condense.statistics import MEAN, VAR, WITHIN, Segment
from raydc.config.stages.networks import Arch
from raydc.plan.statistics import Needed
from raydc.teachers.statistics import Layout, Sums, layout, layout_of, moments_of_images, place
from tests.condense.nets import TinyResNet, frozen, moments, pixels

ALL = Needed(("net",), bn=True, conv=True, tile=16, classes=True, within=True)
COUNTS = {"resnet18": 17_926, "mobilenet_v2": 66_782, "efficientnet_b0": 101_310,
          "shufflenet_v2_x0_5": 14_874, "alexnet": 2_204}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_the_published_pool_has_as_many_numbers_a_class_as_its_released_statistics(name: str) -> None:
    found = layout_of(Arch(use="torchvision", name=name), 1_000, 224, ALL)
    assert 2 * found.width == COUNTS[name]
    assert found.segments[0].channels == 3 and found.segments[0].tiles == 14 * 14, "the stem's input is the picture"


def test_only_layers_that_are_needed_have_a_place_in_the_order_of_modules() -> None:
    network = frozen(TinyResNet(width=4))
    both = layout(network, 12, Needed(("net",), True, True, 4, True, False))
    names = ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample.0", "downsample.1"]
    assert [s.name for s in both.segments] == names and both.positions == tuple(range(8))
    assert both.segments[:4] == (
        Segment("conv1", 3, 9), Segment("bn1", 4, 0), Segment("conv2", 4, 9), Segment("bn2", 4, 0)
    )  # fmt: skip
    assert both.segments[4] == Segment("conv3", 4, 4), "6 pixels are enlarged to two tiles of 4"
    norms = layout(network, 12, Needed(("net",), True, False, 0, True, False))
    assert norms.width == 16 and norms.positions == (1, 3, 5, 7)
    channels = layout(network, 12, Needed(("net",), False, True, 0, False, False))
    assert channels.width == 3 + 3 * 4 and not any(s.tiles for s in channels.segments)
    assert not layout(nn.Sequential(nn.Conv2d(3, 2, 1)), 8, Needed(("net",), True, False, 0, True, False)).segments


def test_a_network_keeps_its_mode_and_its_buffers_while_it_is_probed() -> None:
    network = TinyResNet().train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    layout(network, 8, ALL)
    assert network.training and all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_two_images_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1)).eval()
    x = torch.tensor([[1.0, 3.0, 1.0, 3.0], [5.0, 5.0, 5.0, 9.0], [0.0, 0.0, 0.0, 0.0]]).view(3, 1, 2, 2)
    found = Layout((0,), (Segment("0", 1, 0),), 0)
    sums = Sums.zeros([7, 2], found.width, 3)
    sums.add(*moments_of_images(network, found, x), torch.tensor([7, 7, 2]))
    assert sums.labels.tolist() == [2, 7] and sums.counts.tolist() == [1, 2]
    assert sums.values[:, :, 0].tolist() == [[0, 0, 0], [2 + 6, (1 + 4) + (3 + 36), 1 + 3]]
    # Of the eight values 1 3 1 3 5 5 5 9: mean 4, mean square 22, so variance 6; within images 1 and 3, on average 2.
    assert sums.moments()[1, :, 0].tolist() == [4, 6, 2]
    assert sums.whole().moments()[0, :, 0].tolist() == [32 / 12, 176 / 12 - (32 / 12) ** 2, 4 / 3]


def test_class_moments_are_those_of_all_values_of_the_class() -> None:
    network, labels = frozen(TinyResNet(width=4)), torch.tensor([3, 1, 1, 3, 3, 1, 3])
    x = pixels(7, 12)
    found = layout(network, 12, Needed(("net",), True, True, 4, True, True))
    mean, var = moments_of_images(network, found, x)
    sums = Sums.zeros([1, 3], found.width, 3)
    sums.add(mean, var, labels)
    taken: list[torch.Tensor] = []
    network.conv2.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0].double()))
    network(x)
    begin = sum(s.channels + s.tiles for s in found.segments[:2])
    for row, label in enumerate((1, 3)):
        pooled = moments(taken[0][labels == label], tile=4)
        got = sums.moments()[row, :, begin : begin + 4 + 9]
        assert torch.allclose(got[MEAN], torch.cat([pooled.mean, pooled.tile_mean]), atol=1e-6)
        assert torch.allclose(got[VAR], torch.cat([pooled.var, pooled.tile_var]), rtol=1e-5)
    assert torch.equal(sums.moments()[:, WITHIN], torch.stack([var[labels == n].double().mean(0) for n in (1, 3)]))


def drawn(images: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Moments of images with means far from 0, and labels of which some may have no image."""
    generator = np.random.default_rng(seed)
    mean = torch.from_numpy(generator.normal(50, 3, (images, width)))
    return mean, torch.from_numpy(generator.gamma(1, 1, (images, width))), torch.from_numpy(
        generator.integers(0, 6, images))  # fmt: skip


@given(st.integers(1, 40), st.lists(st.integers(0, 40), max_size=6), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_split_merged_in_any_order_is_the_one_pass(
    images: int, cuts: list[int], order: random.Random, within: bool
) -> None:
    mean, var, labels = drawn(images, 5, images)
    rows = 3 if within else 2
    one = Sums.zeros(labels.tolist(), 5, rows)
    one.add(mean, var, labels)
    borders = [0, *sorted(min(c, images) for c in cuts), images]
    parts = []
    for begin, end in zip(borders, borders[1:], strict=False):
        part = Sums.zeros(labels[begin:end].tolist(), 5, rows)
        part.add(mean[begin:end], var[begin:end], labels[begin:end])
        parts.append(part)
    order.shuffle(parts)
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert torch.equal(merged.labels, one.labels) and torch.equal(merged.counts, one.counts)
    assert torch.allclose(merged.moments(), one.moments(), rtol=1e-10, atol=1e-10)
    # Classes recombine to all data: M = sum p M_c, V = sum p V_c + sum p (M_c - M)^2.
    share, classes, whole = (one.counts.double() / images)[:, None], one.moments(), one.whole().moments()[0]
    assert torch.allclose((share * classes[:, MEAN]).sum(0), whole[MEAN], rtol=1e-10)
    again = (share * (classes[:, VAR] + (classes[:, MEAN] - whole[MEAN]) ** 2)).sum(0)
    assert torch.allclose(again, whole[VAR], rtol=1e-9, atol=1e-9)


def test_a_class_without_images_has_no_moments_and_does_not_disturb_the_others() -> None:
    mean, var, labels = drawn(9, 4, 0)
    some, more = Sums.zeros(labels.tolist(), 4, 2), Sums.zeros([*labels.tolist(), 99], 4, 2)
    for sums in (some, more):
        sums.add(mean, var, labels)
    assert torch.isnan(more.moments()[-1]).all()
    assert torch.equal(more.moments()[:-1], some.moments())
    assert torch.equal(more.whole().moments(), some.whole().moments())
    with pytest.raises(ValueError, match=r"labels \[98\] are not among"):
        more.add(mean[:1], var[:1], torch.tensor([98]))


def test_equal_values_have_no_negative_variance() -> None:
    sums = Sums.zeros([0], 1, 2)
    sums.add(torch.full((3, 1), 0.1), torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))
    assert 0 <= float(sums.moments()[0, VAR]) < 1e-15


def test_sums_go_through_a_file_and_are_cut_at_a_label() -> None:
    mean, var, labels = drawn(30, 4, 1)
    sums = Sums.zeros(labels.tolist(), 4, 3)
    sums.add(mean, var, labels)
    again = Sums.of({k: v.clone() for k, v in sums.tensors().items()})
    first, rest = again.split(3)
    assert set(first.labels.tolist()) <= {0, 1, 2} and min(rest.labels.tolist()) >= 3
    assert torch.equal(first.merge(rest).values, sums.values)


def test_the_first_layer_with_values_that_are_no_numbers_is_named() -> None:
    found = Layout((0, 1), (Segment("stem", 3, 1), Segment("head", 2, 0)), 4)
    sums = Sums.zeros([0, 1], found.width, 2)
    assert sums.unusable(found) is None
    sums.values[1, VAR, 4] = torch.inf
    assert sums.unusable(found) == "head"
    assert [place(found.segments, n) for n in range(6)] == ["stem"] * 4 + ["head"] * 2


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
