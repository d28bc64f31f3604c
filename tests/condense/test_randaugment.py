"""The operations of RandAugment against torchvision's, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import RandAugment, _apply_op

from raydc.condense.randaugment import operate
from raydc.keys import Key
from raydc.labels.views import OPERATIONS

THEIRS = dict(
    zip(
        OPERATIONS,
        ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
         "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
        strict=True,
    )
)  # fmt: skip


def pictures(count: int, height: int, width: int) -> torch.Tensor:
    """Gradients with noise, as photographs have them; the last one is of a single colour in two channels."""
    noise = Key(("pictures", height)).uniform(count, 3, height, width) * 60
    ramp = np.linspace(0, 190, height)[None, None, :, None] * np.linspace(0.3, 1, width)
    images = np.clip(noise + ramp * np.array([1, 0.6, 0.8])[None, :, None, None], 0, 255).astype(np.uint8)
    images[-1, :2] = 77
    return torch.from_numpy(images)


def theirs(image: torch.Tensor, name: str, magnitude: int) -> torch.Tensor:
    space = RandAugment()._augmentation_space(31, image.shape[-2:])
    table, signed = space[THEIRS[name]]
    strength = float(table[abs(magnitude)].item()) if table.ndim else 0.0
    strength *= -1.0 if signed and magnitude < 0 else 1.0
    return _apply_op(image, THEIRS[name], strength, interpolation=InterpolationMode.NEAREST, fill=None)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (37, 50)])
def test_every_operation_is_torchvisions(name: str, height: int, width: int) -> None:
    strengths = [0, 1, -4, 9, -9, 15, -22, 30, -30, 6]
    images = pictures(len(strengths), height, width)
    found = operate(images, np.full(len(images), OPERATIONS.index(name)), np.array(strengths))
    expected = torch.stack([theirs(i, name, m) for i, m in zip(images, strengths, strict=True)])
    off = (found.int() - expected.int()).abs() > 1
    # A sampling point half-way between two pixels may be rounded to the other one: no more than one in a thousand.
    geometric = name in ("shear_x", "shear_y", "rotate")
    assert off.float().mean() <= (1e-3 if geometric else 0)


def test_magnitudes_have_golden_numbers() -> None:
    image = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    image[:, :, 112, 112] = 200

    def spot(name: str, magnitude: int) -> list[list[int]]:
        out = operate(image, np.array([OPERATIONS.index(name)]), np.array([magnitude]))
        return out[0, 0].nonzero().tolist()

    assert spot("translate_x", 9) == [[112, 142]]  # 9/30 of 150/331 of 224 pixels is 30.45
    assert spot("translate_y", -30) == [[11, 112]]  # 101.5
    bright = operate(image, np.array([OPERATIONS.index("brightness")]), np.array([-9]))
    assert bright[0, 0, 112, 112] == 146  # 200 times 1 - 0.27
    assert operate(image, np.array([OPERATIONS.index("posterize")]), np.array([30]))[0, 0, 112, 112] == 192


def test_images_are_worked_on_apart_and_left_alone() -> None:
    images = pictures(28, 20, 20)
    kinds, strengths = np.arange(28) % 14, Key(("m",)).integers(-30, 31, 28)
    before, together = images.clone(), operate(images, kinds, strengths)
    assert torch.equal(images, before)
    for i in range(28):
        assert torch.equal(operate(images[i : i + 1], kinds[i : i + 1], strengths[i : i + 1])[0], together[i])
