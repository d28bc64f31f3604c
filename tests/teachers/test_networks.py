"""Networks by name, with keyed weights and errors that name the mistake."""

from __future__ import annotations

import time

import pytest
import torch

from raydc.config.schema import Arch
from raydc.errors import ConfigError
from raydc.keys import Key
from raydc.teachers.networks import build, check, skeleton
from raydc.teachers.small import SMALL


def arch(name: str, use: str = "small", **options: object) -> Arch:
    return Arch(use=use, name=name, options=options)


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("side", [8, 32])
def test_small_networks_answer_with_one_logit_a_class(name: str, side: int) -> None:
    network = build(arch(name), 7, side)
    assert network(torch.rand(3, 3, side, side)).shape == (3, 7)


def test_options_shape_the_small_networks() -> None:
    deep = build(arch("resnet", widths=[8, 16], blocks=[2, 1]), 5, 16)
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in deep.modules()) == 1 + 2 * 3 + 1
    wide = build(arch("convnet", width=24, depth=2), 5, 16)
    assert wide.head.weight.shape == (5, 24 * 4 * 4)


@pytest.mark.parametrize("one", [arch("resnet"), arch("resnet18", "torchvision"), arch("test_resnet", "timm")])
def test_first_weights_come_from_the_key(one: Arch) -> None:
    torch.manual_seed(1)
    first = build(one, 10, 32, Key((3, "weights"))).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = build(one, 10, 32, Key((3, "weights"))).state_dict()
    other = build(one, 10, 32, Key((4, "weights"))).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


def test_a_fresh_network_is_ready_to_train_and_untouched() -> None:
    network = build(arch("resnet"), 10, 16)
    assert network.training
    assert network.stem[1].running_mean.abs().max() == 0


def test_a_skeleton_takes_no_memory() -> None:
    assert all(t.is_meta for t in skeleton(arch("resnet18", "torchvision"), 10, 32).parameters())


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (arch("resnt"), "small has no network 'resnt', did you mean 'resnet'.*known: resnet, convnet"),
        (arch("resnet81", "torchvision"), "did you mean 'resnet18'"),
        (arch("tf_efficientnet_lite9", "timm"), "did you mean 'tf_efficientnet_lite"),
        (arch("fcn_resnet50", "torchvision"), "torchvision has no network"),
        (arch("convnet", widht=3), "refuses the options.*widht"),
        (arch("resnet", widths=[8], blocks=[1, 1]), "one entry for each stage"),
        (arch("resnet18", "timm", pretrained=True), "refuses the options.*pretrained"),
    ],
)
def test_wrong_names_and_options_are_refused(one: Arch, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(one, 10, 32)


def test_an_image_too_small_for_the_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="4 halvings leave nothing of an image of 8 pixels"):
        build(arch("convnet", depth=4), 10, 8)
    tiny = {"depth": 1, "embed_dim": 16, "num_heads": 2}
    with pytest.raises(ConfigError, match="cannot take images of 32x32 pixels.*img_size"):
        build(arch("vit_tiny_patch16_224", "timm", **tiny), 10, 32)
    build(arch("vit_tiny_patch16_224", "timm", img_size=32, **tiny), 10, 32)


def test_a_network_for_other_inputs_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot take images"):
        build(arch("test_resnet", "timm", in_chans=1), 10, 32)


@pytest.mark.parametrize(
    ("one", "side"),
    [
        (arch("alexnet", "torchvision"), 32),
        (arch("vgg11_bn", "timm"), 16),
        (arch("vit_tiny_patch16_224", "timm"), 32),
        (arch("test_resnet", "timm", in_chans=1), 32),
        (arch("resnet81", "torchvision"), 32),
    ],
)
def test_a_check_refuses_what_a_build_would(one: Arch, side: int) -> None:
    with pytest.raises(ConfigError) as checked:
        check(one, 10, side)
    with pytest.raises(ConfigError) as built:
        build(one, 10, side)
    assert str(checked.value) == str(built.value)


def test_a_check_of_a_large_network_takes_moments() -> None:
    began = time.monotonic()
    check(arch("vit_h_14", "torchvision"), 21_843, 224)  # 2.6 GB of weights
    check(arch("resnet18", "torchvision"), 10, 32)
    assert time.monotonic() - began < 5
