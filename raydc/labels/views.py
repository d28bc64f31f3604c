"""View records: 24 bytes that say which look at a stored image the teacher labelled.

A record is explicit, so replaying it needs no random stream, batch size or worker count. The crop is torchvision's
``RandomResizedCrop`` rule, the mix is CutMix (Yun et al. 2019) with the box of the reference code (side ratio
``sqrt(1 - lambda)``, uniform centre, clipped at the border) drawn for each image, with a partner of the same shard.
Unmixed and unflipped columns hold neutral values, so every column of every record can be read.
"""

from __future__ import annotations

import numpy as np

from raydc.config.components import Views
from raydc.errors import ConfigError, DataError
from raydc.keys import Key

VERSION = 1
COLUMNS = (
    "op", "crop_top", "crop_left", "crop_h", "crop_w", "flip",
    "partner", "lam", "box_top", "box_left", "box_h", "box_w",
)  # fmt: skip
PLAIN, CUTMIX = 0, 1
NO_PARTNER = 65535
LAMBDA_ONE = 65535
"""The value of ``lam`` that stands for 1."""
TRIES = 10
"""Proposals of a crop before the central fallback (torchvision)."""
_INDEX = {name: i for i, name in enumerate(COLUMNS)}


def column(records: np.ndarray, name: str) -> np.ndarray:
    """One column by name: uint16 ``[B]`` of records ``[B, 12]``."""
    return records[..., _INDEX[name]]


def resized_crop_boxes(
    key: Key,
    count: int,
    height: int,
    width: int,
    min_scale: float,
    max_scale: float = 1.0,
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
    """Draw crops as torchvision's ``RandomResizedCrop.get_params`` does.

    Up to ten proposals of area ~ U(min_scale, max_scale) and log-uniform aspect ratio, sides rounded half to even,
    each refused if it does not fit; then the largest central crop within ``ratio``. Most large areas are refused in
    a square image, so the mean area is not the nominal one. Row i does not depend on ``count``.

    Returns:
        int64 ``[count, 4]``: top, left, height, width in pixels.
    """
    draws = key.uniform(count, TRIES, 4)
    area = height * width * (min_scale + (max_scale - min_scale) * draws[..., 0])
    low, high = np.log(ratio)
    aspect = np.exp(low + (high - low) * draws[..., 1])
    w, h = np.rint(np.sqrt(area * aspect)).astype(np.int64), np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)

    first = np.argmax(fits, axis=1)
    rows = np.arange(count)
    w, h, place = w[rows, first], h[rows, first], draws[rows, first, 2:]
    top = np.floor(place[:, 0] * (height - h + 1)).astype(np.int64)
    left = np.floor(place[:, 1] * (width - w + 1)).astype(np.int64)
    boxes = np.stack([top, left, h, w], axis=1)
    return np.where(fits.any(axis=1)[:, None], boxes, _central(height, width, ratio))


def _central(height: int, width: int, ratio: tuple[float, float]) -> np.ndarray:
    """The fallback: the whole image, or its centre where the image is longer than ``ratio`` allows."""
    h, w = height, width
    if width / height < min(ratio):
        h = round(width / min(ratio))
    elif width / height > max(ratio):
        w = round(height * max(ratio))
    return np.array([(height - h) // 2, (width - w) // 2, h, w], dtype=np.int64)


def draw(key: Key, count: int, height: int, width: int, size: int, views: Views) -> np.ndarray:
    """Draw one view record for each image of a shard.

    Args:
        key: names the draw: run seed, stage, shard, view.
        count: images in the shard; partners are a permutation of its rows.
        height: of the stored images in pixels.
        width: of the stored images in pixels.
        size: side of the view in pixels; the CutMix box is in its pixels.
        views: the distribution.

    Returns:
        uint16 ``[count, 12]`` in the order of :data:`COLUMNS`.

    Raises:
        ConfigError: if a side or the count does not fit a 16-bit column.
    """
    for what, value in (("height", height), ("width", width), ("view size", size), ("images in a shard", count)):
        if not 0 < value < NO_PARTNER:
            raise ConfigError(f"{what} is {value}; view records hold 1 to {NO_PARTNER - 1}. Choose a smaller one")
    records = np.zeros((count, len(COLUMNS)), dtype="<u2")
    boxes = resized_crop_boxes(key.child("crop"), count, height, width, views.min_scale, views.max_scale, views.ratio)
    records[:, 1:5] = boxes
    column(records, "flip")[:] = key.child("flip").uniform(count) < views.flip
    column(records, "partner")[:] = NO_PARTNER
    column(records, "lam")[:] = LAMBDA_ONE
    if views.mix is not None:
        _mix(records, key.child("mix"), size, views.mix.alpha)
    return records


def _mix(records: np.ndarray, key: Key, size: int, alpha: float) -> None:
    """Fill the CutMix columns in place; ``lam`` is the kept fraction of the area after clipping the box."""
    count = len(records)
    half = np.floor(size * np.sqrt(1.0 - _beta(key.child("lambda"), count, alpha))).astype(np.int64) // 2
    centre = key.child("centre").integers(0, size, count, 2)
    low, high = np.clip(centre - half[:, None], 0, size), np.clip(centre + half[:, None], 0, size)
    sides = high - low
    column(records, "op")[:] = CUTMIX
    column(records, "partner")[:] = key.child("partner").permutation(count)
    column(records, "lam")[:] = np.rint(LAMBDA_ONE * (1.0 - sides.prod(axis=1) / size**2))
    records[:, 8:10], records[:, 10:12] = low, sides


def _beta(key: Key, count: int, alpha: float) -> np.ndarray:
    """Draw Beta(alpha, alpha) as float64 ``[count]`` without rejection, for any alpha > 0.

    Devroye, "Random variate generation in one line of code" (1996), the symmetric beta; uniform at alpha = 1.
    """
    u, v, sign = key.uniform(3, count)
    odds = np.expm1(np.minimum(-np.log1p(-u) / alpha, 700.0)) * np.cos(2.0 * np.pi * v) ** 2
    return 0.5 + np.where(sign < 0.5, -0.5, 0.5) * np.sqrt(odds / (1.0 + odds))


def check(records: np.ndarray, count: int, height: int | None = None, width: int | None = None) -> None:
    """Refuse records that this reader cannot replay.

    Args:
        records: ``[B, 12]`` as read from a label shard.
        count: images in the shard, the bound of ``partner``.
        height: of the stored images, to check that crops lie inside; None to skip.
        width: of the stored images.

    Raises:
        DataError: wrong shape or type, an ``op`` of another version, a partner or a crop outside.
    """
    if records.ndim != 2 or records.shape[1] < len(COLUMNS) or records.dtype != np.dtype("<u2"):
        raise DataError(f"view records are {records.dtype} {list(records.shape)}, expected uint16 [N, {len(COLUMNS)}]")
    op, partner = column(records, "op"), column(records, "partner")
    unknown = sorted(set(op.tolist()) - {PLAIN, CUTMIX})
    if unknown:
        known = f"{PLAIN} (plain) and {CUTMIX} (CutMix)"
        raise DataError(f"view records use op {unknown}; this raydc knows {known}. Update raydc")
    outside = (partner >= count) & ((op == CUTMIX) | (partner != NO_PARTNER))
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DataError(f"view record {row} names partner row {int(partner[row])}, but the shard has {count} rows")
    if height is not None and width is not None:
        crop = records[:, 1:5].astype(np.int64)
        outside = (crop[:, 2:] < 1).any(axis=1) | (crop[:, :2] + crop[:, 2:] > (height, width)).any(axis=1)
        if outside.any():
            box = crop[np.flatnonzero(outside)[0]].tolist()
            raise DataError(f"a view record crops (top, left, h, w) {box}, but the images are {height}x{width}")
