"""A safetensors file with ``images`` ``[N, 3, H, W]``, uint8 or float in [0, 1], and ``labels`` ``[N]``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from raydc.config.stages.adopt import AdoptConfig
from raydc.config.stages.data import DataConfig
from raydc.errors import DataError
from raydc.sources.decode import encode, resized
from raydc.sources.given.base import Glance, Taken, check_size, even_cuts
from raydc.sources.given.header import Tensor, read_header
from raydc.store.faults import clean
from raydc.store.folder import Folder
from raydc.store.patience import READING_S

IMAGES, LABELS = "images", "labels"
FLOATS = ("F16", "F32", "F64")


@dataclass(frozen=True, eq=False)
class TensorFile:
    """Images in the order of the file, read by range."""

    form: ClassVar[str] = "safetensors"
    folder: Folder
    name: str
    images: Tensor
    labels: np.ndarray
    cuts: list[int]
    data: DataConfig

    def take(self, first: int, stop: int) -> Taken:
        """Read rows, round them to 8 bits, and encode them as PNG."""
        row = self.images.row_bytes
        raw = self.folder.ranges(self.name, [(self.images.offset + first * row, (stop - first) * row)])[0]
        x = np.frombuffer(raw, self.images.dtype).reshape(stop - first, *self.images.shape[1:])
        pixels = (x if x.dtype == np.uint8 else self._rounded(x, first)).transpose(0, 2, 3, 1)
        side, config = self.data.image_size, self.data
        if pixels.shape[1:3] != (side, side):
            pictures = [Image.fromarray(np.ascontiguousarray(p)) for p in pixels]
            pixels = np.stack([resized(p, side, config.resize, config.crop_fraction) for p in pictures])
        return Taken([encode(p, "png") for p in pixels], hashlib.sha256(raw).hexdigest())

    def _rounded(self, x: np.ndarray, first: int) -> np.ndarray:
        """Floats in [0, 1] as the nearest of 256 levels."""
        flat = x.reshape(len(x), -1).astype(np.float64)
        low, high = flat.min(1), flat.max(1)  # NaN wherever a row has one
        bad = np.flatnonzero(~((low >= 0) & (high <= 1)))
        if len(bad):
            n = int(bad[0])
            where = f"{clean(self.folder.url)}/{self.name}: image {first + n}"
            if not np.isfinite(flat[n]).all():
                raise DataError(f"{where} has pixels that are no numbers (NaN or infinite). Remove or mend it")
            raise DataError(
                f"{where} has values from {low[n]:.3g} to {high[n]:.3g}; expected [0, 1]. Undo its normalisation "
                "(x * std + mean) or divide by 255 before saving, or save uint8"
            )
        return np.rint(x.astype(np.float64) * 255).astype(np.uint8)

    def fingerprint(self) -> str:
        """Of the place and form of the images, and the classes."""
        digest = hashlib.sha256(self.labels.astype("<i4").tobytes())
        digest.update(repr((str(self.images), self.images.offset)).encode())
        return digest.hexdigest()


def glance(adopt: AdoptConfig) -> Glance:
    """Read the header and the labels."""
    folder, name = _place(adopt.url)
    labels = _labels(folder, name, _header(folder, name))
    return Glance("safetensors", len(labels), len(labels) / len(np.unique(labels)))


def find(adopt: AdoptConfig, data: DataConfig, classes: tuple[str, ...]) -> TensorFile:
    """Read the header and the labels, and hold them against the data of the config.

    Raises:
        DataError: tensors that are missing, of another type or shape, labels out of range, images of another size.
    """
    folder, name = _place(adopt.url)
    found = _header(folder, name)
    labels, images, where = _labels(folder, name, found), found[IMAGES], clean(adopt.url)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(classes):
        raise DataError(
            f"{where}: 'labels' go from {low} to {high}, but there are {len(classes)} classes: expected 0 to "
            f"{len(classes) - 1}. It is of another label space, or its classes are counted otherwise"
        )
    height, width = images.shape[2:]
    if not adopt.resize:
        if height != width:
            raise DataError(f"{where}: images of {height}x{width} pixels, expected {data.image_size}x{data.image_size} "
                            "(data.image_size), or --set adopt.resize=true")  # fmt: skip
        check_size(height, data.image_size, where)
    return TensorFile(folder, name, images, labels.astype(np.int32), even_cuts(len(labels)), data)


def _place(url: str) -> tuple[Folder, str]:
    folder, _, name = str(Folder(url).url).rpartition("/")
    return Folder(folder, READING_S), name


def _header(folder: Folder, name: str) -> dict[str, Tensor]:
    """The tensors of the file, of which images and labels have the right type and shape."""
    where, found = clean(f"{folder.url}/{name}"), read_header(folder.hasty(), name)
    missing = [key for key in (IMAGES, LABELS) if key not in found]
    if missing:
        raise DataError(f"{where} has no tensor '{missing[0]}'; it has {sorted(found)[:10]}. Expected 'images' and "
                        "'labels'")  # fmt: skip
    images, labels = found[IMAGES], found[LABELS]
    if images.kind not in ("U8", *FLOATS):
        raise DataError(f"{where}: {images}; expected U8, or {', '.join(FLOATS)} in [0, 1]")
    if len(images.shape) != 4 or images.shape[1] != 3:
        last = ". Channels come first: images.permute(0, 3, 1, 2)" if images.shape[3:] == (3,) else ""
        raise DataError(f"{where}: {images}; expected [N, 3, H, W]{last}")
    if labels.kind in (*FLOATS, "BF16"):
        raise DataError(
            f"{where}: {labels} look like soft labels, which are not read: give the class indices as I64 [N]. Soft "
            "labels are made by the teachers of the config"
        )
    if labels.kind not in ("I64", "I32", "U8"):
        raise DataError(f"{where}: {labels}; expected class indices, I64 [N]")
    if labels.shape != images.shape[:1]:
        raise DataError(f"{where}: {images} and {labels}; expected one label an image, [{images.shape[0]}]")
    if not images.shape[0] or not images.row_bytes:
        raise DataError(f"{where} holds no images: {images}")
    return found


def _labels(folder: Folder, name: str, found: dict[str, Tensor]) -> np.ndarray:
    tensor = found[LABELS]
    raw = folder.ranges(name, [(tensor.offset, tensor.shape[0] * tensor.dtype.itemsize)])[0]
    return np.frombuffer(raw, tensor.dtype).astype(np.int64)
