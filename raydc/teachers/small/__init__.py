"""raydc's own networks, for small pictures; one file each, with its card.

A network takes (classes, image_size, **options) and answers ``[B, 3, H, W]`` with logits ``[B, classes]``. To add one:
a file here, a line in the table.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from raydc.teachers.small.alexnet import AlexNet
from raydc.teachers.small.convnet import ConvNet
from raydc.teachers.small.mobilenet_v2 import MobileNetV2
from raydc.teachers.small.resnet import ResNet
from raydc.teachers.small.shufflenet_v2 import ShuffleNetV2
from raydc.teachers.small.wrn import WideResNet

SMALL: dict[str, Callable[..., nn.Module]] = {
    "resnet": ResNet,
    "convnet": ConvNet,
    "wrn": WideResNet,
    "mobilenet_v2": MobileNetV2,
    "shufflenet_v2": ShuffleNetV2,
    "alexnet": AlexNet,
}
"""Networks of ``arch: {use: small}``: name, which is also that of the file, to constructor."""
