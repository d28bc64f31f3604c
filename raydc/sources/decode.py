"""Pictures as bytes: any JPEG, PNG or WebP to an RGB array, the resize rule of a data set, and back to bytes.

Grey, palette, CMYK and 16-bit images become RGB; an alpha channel is dropped, not blended, and EXIF rotation is not
applied, as in the loaders that published teachers were trained with (torchvision ``ImageFolder``, timm). Resizing is
bilinear with antialiasing, torchvision's ``Resize`` and ``CenterCrop`` on PIL images.
"""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from PIL import Image

from raydc.errors import DataError

EXTENSIONS = ("jpg", "jpeg", "png", "webp")
"""File names and tar fields that are taken for images, in lower case."""

_FORMATS = ("JPEG", "PNG", "WEBP")


def decode(data: bytes, origin: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode one image to u8 [H, W, 3] in its own size.

    Args:
        data: The encoded image.
        origin: Where it came from, for the message: a URL, or shard and member.
        size: The height and width that it must have; another one is refused before any pixel is decoded.

    Raises:
        DataError: not an image of a known kind, truncated, or of another size; names ``origin``.
    """
    return np.array(_open(data, origin, size))


def decode_resized(
    data: bytes, origin: str, size: int, resize: Literal["center_crop", "squish"], crop_fraction: float = 1.0
) -> np.ndarray:
    """Decode one image to u8 [size, size, 3] by the rule of the data set; raises as ``decode``."""
    return resized(_open(data, origin), size, resize, crop_fraction)


def resized(
    image: Image.Image, size: int, resize: Literal["center_crop", "squish"], crop_fraction: float = 1.0
) -> np.ndarray:
    """Bring an RGB picture to u8 [size, size, 3] by the rule of the data set.

    ``center_crop`` brings the short side to ``round(size / crop_fraction)`` and takes the middle; ``squish`` ignores
    the aspect ratio.
    """
    if resize == "squish":
        return np.array(image.resize((size, size), Image.Resampling.BILINEAR))
    return np.array(_center_crop(image, size, crop_fraction))


def encode(image: np.ndarray, format: Literal["png", "jpg"], quality: int = 95) -> bytes:
    """Encode u8 [H, W, 3] as PNG (exact), or as JPEG of ``quality`` without chroma subsampling (4:4:4)."""
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    if format == "png":
        picture.save(buffer, "PNG")
    else:
        picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _open(data: bytes, origin: str, size: tuple[int, int] | None = None) -> Image.Image:
    if not data:
        raise DataError(f"{origin}: the image is empty (0 bytes). Replace or remove it")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if size is not None and image.size != size[::-1]:
            found, expected = f"{image.height}x{image.width}", f"{size[0]}x{size[1]}"
            raise DataError(f"{origin} is {found} pixels (height x width), expected {expected}")
        image.load()
        return _rgb(image)
    except (MemoryError, DataError):
        raise
    except Exception as cause:  # broken bytes make PIL's decoders raise anything from OSError to IndexError
        why = "unknown kind of file" if isinstance(cause, Image.UnidentifiedImageError) else str(cause)
        raise DataError(
            f"{origin}: not a readable JPEG, PNG or WebP image: truncated, damaged or of another kind ({why}; "
            f"{len(data)} bytes that begin with {data[:8]!r}). Replace or remove it"
        ) from cause


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit grey: PIL would clip it to white instead of scaling it
        return Image.fromarray((np.asarray(image).astype(np.int64) // 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _center_crop(image: Image.Image, size: int, crop_fraction: float) -> Image.Image:
    """Crop the middle of the image whose short side has been brought to ``round(size / crop_fraction)``.

    Both steps are one resampling of the box that survives: the same pixels as resize then crop, but the work and the
    memory do not grow with the aspect ratio.
    """
    width, height = image.size
    short = round(size / crop_fraction)
    if width <= height:
        new_width, new_height = short, int(short * height / width)
    else:
        new_width, new_height = int(short * width / height), short
    if (new_width, new_height) == (width, height) == (size, size):
        return image
    left, top = round((new_width - size) / 2), round((new_height - size) / 2)
    x, y = width / new_width, height / new_height
    box = (left * x, top * y, min((left + size) * x, width), min((top + size) * y, height))
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)
