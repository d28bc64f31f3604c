"""RandAugment: fourteen operations on uint8 images, each at one strength for an image.

Cubuk et al. 2020, as torchvision's ``transforms.RandAugment`` has it (31 magnitudes; translation up to 150/331 of the
side), with which EDC trains on small data sets. Pixels are those of torchvision on uint8 tensors: sums are taken in
float32 and truncated after each operation. The geometric ones take the nearest pixel and leave black outside; their
sampling points are computed in float64, so a point half-way between two pixels may go to the other one than there.

Which operations, in what order and with what sign, the view record says (``labels/views.py``).

Not for: timm's RandAugment (DELT), which has other operations, more of them, and a normal spread of magnitudes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from raydc.labels.views import MAGNITUDES, OPERATIONS

STRONGEST = {
    "shear_x": 0.3, "shear_y": 0.3, "translate_x": 150 / 331, "translate_y": 150 / 331, "rotate": 30.0,
    "brightness": 0.9, "color": 0.9, "contrast": 0.9, "sharpness": 0.9, "posterize": 4.0, "solarize": 255.0,
}  # fmt: skip
"""At the last magnitude: a slope, a share of the side, degrees, a change of the factor 1, bits less, levels less."""
GREY = (0.2989, 0.587, 0.114)


def operate(images: torch.Tensor, operations: np.ndarray, magnitudes: np.ndarray) -> torch.Tensor:
    """Apply one operation to each image.

    Args:
        images: uint8 ``[B, 3, H, W]``; they stay as they are.
        operations: int64 ``[B]``, indices into ``OPERATIONS``.
        magnitudes: int64 ``[B]``, in -30 to 30; operations without a sign take the absolute value.

    Returns:
        uint8 ``[B, 3, H, W]``.
    """
    out = images
    for index in np.unique(operations).tolist():
        name = OPERATIONS[index]
        if name == "identity":
            continue
        out = images.clone() if out is images else out
        rows = np.flatnonzero(operations == index)
        where = torch.from_numpy(rows).to(images.device)
        strength = np.float64(STRONGEST.get(name, 0.0)) * magnitudes[rows] / (MAGNITUDES - 1)
        out[where] = _KINDS[name](images[where], strength)
    return out


def _sampled(images: torch.Tensor, points: Callable[..., tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Nearest pixels at the (row, column) that ``points`` makes of rows ``[1, H, 1]`` and columns ``[1, 1, W]``."""
    height, width = images.shape[2:]
    rows = torch.arange(height, dtype=torch.float64, device=images.device).view(1, -1, 1)
    columns = torch.arange(width, dtype=torch.float64, device=images.device).view(1, 1, -1)
    shape = (len(images), height, width)
    row, column = (p.round().long().expand(shape) for p in points(rows, columns))
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)
    found = images.flatten(2).gather(2, place[:, None].expand(-1, images.shape[1], -1))
    return torch.where(inside[:, None], found.view_as(images), 0)


def _each(values: np.ndarray, like: torch.Tensor, dims: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """One number an image, float ``[B, 1, ...]``."""
    return torch.from_numpy(values).to(like.device, dtype).view(-1, *[1] * (dims - 1))


def _shear_x(images: torch.Tensor, slope: np.ndarray) -> torch.Tensor:
    m = _each(slope, images, 3)
    return _sampled(images, lambda row, column: (row, column + m * (row + 0.5)))


def _shear_y(images: torch.Tensor, slope: np.ndarray) -> torch.Tensor:
    m = _each(slope, images, 3)
    return _sampled(images, lambda row, column: (row + m * (column + 0.5), column))


def _translate_x(images: torch.Tensor, share: np.ndarray) -> torch.Tensor:
    shift = _each(_pixels(share, images.shape[3]), images, 3)
    return _sampled(images, lambda row, column: (row, column - shift))


def _translate_y(images: torch.Tensor, share: np.ndarray) -> torch.Tensor:
    shift = _each(_pixels(share, images.shape[2]), images, 3)
    return _sampled(images, lambda row, column: (row - shift, column))


def _pixels(share: np.ndarray, side: int) -> np.ndarray:
    """Whole pixels, towards zero; what is whole but for rounding is whole."""
    return np.trunc(np.round(share * side, 5))


def _rotate(images: torch.Tensor, degrees: np.ndarray) -> torch.Tensor:
    angle = np.deg2rad(degrees)
    cos, sin = _each(np.cos(angle), images, 3), _each(np.sin(angle), images, 3)
    middle = [(side - 1) / 2 for side in images.shape[2:]]

    def points(row: torch.Tensor, column: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, x = row - middle[0], column - middle[1]
        return sin * x + cos * y + middle[0], cos * x - sin * y + middle[1]

    return _sampled(images, points)


def _blend(images: torch.Tensor, other: torch.Tensor | float, change: np.ndarray) -> torch.Tensor:
    """The image ``1 + change`` times and the rest of ``other``: away from it or towards it."""
    own = _each(1.0 + change, images, 4, torch.float32)
    rest = _each(1.0 - (1.0 + change), images, 4, torch.float32)
    return (own * images + rest * other).clamp(0, 255).to(torch.uint8)


def _grey(images: torch.Tensor) -> torch.Tensor:
    red, green, blue = images.unbind(1)
    return (GREY[0] * red + GREY[1] * green + GREY[2] * blue).to(torch.uint8)[:, None]


def _brightness(images: torch.Tensor, change: np.ndarray) -> torch.Tensor:
    return _blend(images, 0.0, change)


def _color(images: torch.Tensor, change: np.ndarray) -> torch.Tensor:
    return _blend(images, _grey(images), change)


def _contrast(images: torch.Tensor, change: np.ndarray) -> torch.Tensor:
    return _blend(images, _grey(images).float().mean((1, 2, 3), keepdim=True), change)


def _sharpness(images: torch.Tensor, change: np.ndarray) -> torch.Tensor:
    if min(images.shape[2:]) <= 2:
        return images
    wide = images.int()
    rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[:, :, 1:-1, 1:-1]
    blurred = images.clone()
    blurred[:, :, 1:-1, 1:-1] = ((2 * total + 13) // 26).to(torch.uint8)  # thirteenths, rounded
    return _blend(images, blurred, change)


def _posterize(images: torch.Tensor, bits_less: np.ndarray) -> torch.Tensor:
    mask = 256 - 2 ** np.round(np.abs(bits_less)).astype(np.int64)
    return images & torch.from_numpy(mask.astype(np.uint8)).to(images.device).view(-1, 1, 1, 1)


def _solarize(images: torch.Tensor, levels_less: np.ndarray) -> torch.Tensor:
    least = _each(255.0 - np.abs(levels_less), images, 4, torch.float32)
    return torch.where(images >= least, 255 - images, images)


def _auto_contrast(images: torch.Tensor, _: np.ndarray) -> torch.Tensor:
    low, high = (images.float().amin((2, 3), keepdim=True), images.float().amax((2, 3), keepdim=True))
    flat = low == high
    scale = torch.where(flat, 1.0, 255.0 / (high - low))
    return ((images - torch.where(flat, 0.0, low)) * scale).clamp(0, 255).to(torch.uint8)


def _equalize(images: torch.Tensor, _: np.ndarray) -> torch.Tensor:
    """Each channel by its own histogram; one with too few pixels below its brightest level stays as it is."""
    levels = images.flatten(2).long()
    counts = torch.zeros(*levels.shape[:2], 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    brightest = levels.amax(2, keepdim=True)
    step = (levels.shape[2] - counts.gather(2, brightest)) // 255
    table = (counts.cumsum(2) + step // 2) // step.clamp(min=1)
    table = F.pad(table, (1, 0))[..., :-1].clamp(0, 255)
    return torch.where(step == 0, levels, table.gather(2, levels)).to(torch.uint8).view_as(images)


_KINDS: dict[str, Callable[[torch.Tensor, np.ndarray], torch.Tensor]] = {
    "shear_x": _shear_x, "shear_y": _shear_y, "translate_x": _translate_x, "translate_y": _translate_y,
    "rotate": _rotate, "brightness": _brightness, "color": _color, "contrast": _contrast, "sharpness": _sharpness,
    "posterize": _posterize, "solarize": _solarize, "auto_contrast": _auto_contrast, "equalize": _equalize,
}  # fmt: skip
