"""Networks by name, with keyed weights and errors that name the mistake."""

from __future__ import annotations

import time

import pytest
import torch

from raydc.config.stages.networks import Arch
from raydc.errors import ConfigError
from raydc.keys import Key
from raydc.teachers.networks import build, check, skeleton
from raydc.teachers.small import SMALL
from raydc.teachers.small.shufflenet_v2 import Unit


def arch(name: str, use: str = "small", **options: object) -> Arch:
    return Arch(use=use, name=name, options=options)


RESNET18 = {"widths": [64, 128, 256, 512], "blocks": [2, 2, 2, 2]}


# ---- raydc's own ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("side", [8, 32, 64])
def test_small_networks_answer_with_one_logit_a_class(name: str, side: int) -> None:
    network = build(arch(name), 7, side)
    assert network(torch.rand(3, 3, side, side)).shape == (3, 7)


@pytest.mark.parametrize(
    ("one", "classes", "parameters", "convolutions", "batch_norms"),
    [
        # Published sizes: the ResNet-18, WRN, MobileNetV2 (half) and ShuffleNetV2 of the CIFAR-100 distillation
        # literature, and the ConvNet of dataset condensation.
        (arch("resnet", **RESNET18), 100, 11_220_132, 20, 20),
        (arch("wrn"), 100, 703_284, 16, 13),
        (arch("wrn", depth=40), 100, 2_255_156, 40, 37),
        (arch("mobilenet_v2"), 100, 812_836, 53, 53),
        (arch("shufflenet_v2", width=1.0), 100, 1_355_528, 56, 56),
        (arch("convnet", width=128, norm="instance"), 10, 320_010, 3, 0),
        (arch("convnet", width=128, norm="instance"), 100, 320_010 + 90 * 2049, 3, 0),
        # torchvision's shufflenet_v2_x0_5 has 444,292; its stem is 3x3, this one 1x1
        (arch("shufflenet_v2"), 100, 444_292 - 8 * 3 * 24, 56, 56),
        # (3 * 128 + 128 * 192) * 25 + (192 * 256 + 256 * 192 + 192 * 192) * 9 weights, 960 biases, and the head
        (arch("alexnet"), 10, 9_600 + 614_400 + 1_216_512 + 960 + 10 * 3073, 5, 0),
    ],
    ids=lambda v: v.name if isinstance(v, Arch) else str(v),
)
def test_small_networks_are_those_of_the_literature(
    one: Arch, classes: int, parameters: int, convolutions: int, batch_norms: int
) -> None:
    network = build(one, classes, 32)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert sum(isinstance(m, torch.nn.Conv2d) for m in network.modules()) == convolutions
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules()) == batch_norms


@pytest.mark.parametrize(
    ("one", "side"),
    [
        (arch("resnet", **RESNET18), 4),
        (arch("convnet"), 4),
        (arch("wrn"), 8),
        (arch("mobilenet_v2"), 2),
        (arch("shufflenet_v2"), 4),
        (arch("alexnet"), 4),
    ],
    ids=lambda v: v.name if isinstance(v, Arch) else str(v),
)
def test_the_last_map_of_a_32_pixel_image(one: Arch, side: int) -> None:
    seen: list[torch.Size] = []
    network = build(one, 10, 32).eval()
    last = getattr(network, "features", None) or network.stages
    last.register_forward_hook(lambda _, __, out: seen.append(out.shape))
    network(torch.zeros(1, 3, 32, 32))
    assert seen[0][2:] == (side, side)


def test_instance_norm_knows_nothing_of_the_other_images() -> None:
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for norm in ("instance", "group", "none"):
        network = build(arch("convnet", norm=norm, width=8), 5, 16).train()
        assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-5)
    network = build(arch("convnet", norm="batch", width=8), 5, 16).train()
    assert not torch.allclose(network(x)[:1], network(x[:1]), atol=1e-2)


def test_a_shuffled_unit_deals_the_channels_of_its_branches_in_turn() -> None:
    unit = Unit(4, 4, 1).eval()
    x = torch.rand(2, 4, 3, 3)
    out = unit(x)
    assert torch.equal(out[:, 0::2], x[:, :2])  # the kept half, untouched, on even places
    assert torch.equal(out[:, 1::2], unit.body(x[:, 2:]))


def test_the_name_of_a_small_network_is_that_of_its_file() -> None:
    for name, network in SMALL.items():
        assert network.__module__ == f"raydc.teachers.small.{name}"


# ---- building ----------------------------------------------------------------------------------------------------
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
        (
            arch("resnt"),
            "small has no network 'resnt', did you mean 'resnet'.*known: resnet, convnet, wrn, mobile",
        ),
        (arch("resnet81", "torchvision"), "did you mean 'resnet18'"),
        (arch("tf_efficientnet_lite9", "timm"), "did you mean 'tf_efficientnet_lite"),
        (arch("fcn_resnet50", "torchvision"), "torchvision has no network"),
        (arch("convnet", widht=3), "refuses the options.*widht"),
        (arch("resnet", widths=[8], blocks=[1, 1]), "one entry for each stage"),
        (arch("convnet", norm="layer"), "norm 'layer' is not known.*batch, instance, group, none"),
        (arch("convnet", norm="group", width=6), "refuses the options"),
        (arch("wrn", depth=18), "depth 18 is not 6 n . 4"),
        (arch("wrn", depth=4), "depth 4 is not 6 n . 4"),
        (arch("shufflenet_v2", width=0.7), "width 0.7 is not known.*0.5, 1.0"),
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
