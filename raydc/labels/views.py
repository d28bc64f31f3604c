"""View records: 24 bytes that say which look at a stored image the teacher labelled.

A record is explicit, so replaying it needs no random stream, batch size or worker count. The crop is torchvision's
``RandomResizedCrop`` rule. CutMix (Yun et al. 2019) has the box of the reference code (side ratio
``sqrt(1 - lambda)``, uniform centre, clipped at the border), MixUp (Zhang et al. 2018) a weight; both are drawn for
each image, with a partner of the same shard. Before the crop, strips may be permuted (RDED ``ShufflePatches``) and
operations applied (RandAugment). Unmixed and unflipped columns hold neutral values, so every column of every record
can be read.

Two columns are packed. ``op`` holds the mix in its low byte; its high byte is 0 where ``flip`` says no more than its
name, and 1 + the magnitude of the operations otherwise: readers that know no other bits refuse the record. ``flip``:

====  ==================================================================
bits  meaning
====  ==================================================================
0     mirrored, after the crop
1     the left and the right half change places
2     the upper and the lower half change places
3-7   the first operation: its index in :data:`OPERATIONS`, then 1 for a negative sign
8-12  the second operation
====  ==================================================================
"""

from __future__ import annotations

import numpy as np

from raydc.config.axes.views import Mix, Views
from raydc.errors import ConfigError, DataError
from raydc.keys import Key

VERSION = 1
COLUMNS = (
    "op", "crop_top", "crop_left", "crop_h", "crop_w", "flip",
    "partner", "lam", "box_top", "box_left", "box_h", "box_w",
)  # fmt: skip
PLAIN, CUTMIX, MIXUP = 0, 1, 2
MIXES = {"cutmix": CUTMIX, "mixup": MIXUP}
NO_PARTNER = 65535
LAMBDA_ONE = 65535
"""The value of ``lam`` that stands for 1."""
OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast",
    "sharpness", "posterize", "solarize", "auto_contrast", "equalize",
)  # fmt: skip
"""Of RandAugment, in torchvision's order."""
MAGNITUDES = 31
"""Steps of an operation's strength, from nothing to all (torchvision)."""
TRIES = 10
"""Proposals of a crop before the central fallback (torchvision)."""
_INDEX = {name: i for i, name in enumerate(COLUMNS)}


def column(records: np.ndarray, name: str) -> np.ndarray:
    """One column by name: uint16 ``[B]`` of records ``[B, 12]``."""
    return records[..., _INDEX[name]]


def mix_of(records: np.ndarray) -> np.ndarray:
    """How each record of ``[B, 12]`` mixes, uint16 ``[B]``: :data:`PLAIN`, :data:`CUTMIX` or :data:`MIXUP`."""
    return column(records, "op") & 0xFF


def flips_of(records: np.ndarray) -> np.ndarray:
    """Which views are mirrored, bool ``[B]``."""
    return (column(records, "flip") & 1) != 0


def halves_of(records: np.ndarray) -> np.ndarray:
    """Which halves change places, bool ``[B, 2]``: left with right, upper with lower."""
    return (column(records, "flip")[:, None] & np.array([2, 4], np.uint16)) != 0


def operations_of(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The operations of each record, first to second: int64 ``[B, 2]``; and their signed magnitudes, int64 alike."""
    look = column(records, "flip").astype(np.int64)[:, None] >> np.array([3, 8])
    magnitude = np.maximum((column(records, "op") >> 8).astype(np.int64) - 1, 0)[:, None]
    return look & 0xF, np.where(look & 0x10, -magnitude, magnitude)


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
    _look(records, key, views)
    column(records, "partner")[:] = NO_PARTNER
    column(records, "lam")[:] = LAMBDA_ONE
    if views.mix is not None:
        _mix(records, key.child("mix"), size, views.mix)
    return records


def _look(records: np.ndarray, key: Key, views: Views) -> None:
    """Add what is done to the images before their crops, in place."""
    count, look, magnitude = len(records), np.zeros(len(records), np.int64), 0
    if views.shuffle > 1:
        swaps = key.child("shuffle").integers(0, 2, count, 2)
        look |= swaps[:, 0] << 1 | swaps[:, 1] << 2
    if views.randaugment is not None:
        drawn, magnitude = key.child("randaugment"), views.randaugment.magnitude
        for slot in range(views.randaugment.ops):
            operation = drawn.child(slot).integers(0, len(OPERATIONS), count)
            if views.randaugment.p < 1:
                operation[drawn.child(slot, "p").uniform(count) >= views.randaugment.p] = OPERATIONS.index("identity")
            sign = drawn.child(slot, "sign").integers(0, 2, count)
            look |= (operation | sign << 4) << (3 + 5 * slot)
    if views.shuffle > 1 or views.randaugment is not None:
        column(records, "flip")[:] |= look.astype(np.uint16)
        column(records, "op")[:] |= np.uint16((1 + magnitude) << 8)


def _mix(records: np.ndarray, key: Key, size: int, mix: Mix) -> None:
    """Fill the columns of the mix in place; ``lam`` is the image's own share, of CutMix after clipping the box."""
    count = len(records)
    kept = _beta(key.child("lambda"), count, mix.alpha)
    column(records, "op")[:] |= np.uint16(MIXES[mix.use])
    column(records, "partner")[:] = key.child("partner").permutation(count)
    if mix.use == "mixup":
        column(records, "lam")[:] = np.rint(LAMBDA_ONE * kept)
        return
    half = np.floor(size * np.sqrt(1.0 - kept)).astype(np.int64) // 2
    centre = key.child("centre").integers(0, size, count, 2)
    low, high = np.clip(centre - half[:, None], 0, size), np.clip(centre + half[:, None], 0, size)
    sides = high - low
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
        DataError: wrong shape or type, an ``op`` or ``flip`` of another version, a partner or a crop outside.
    """
    if records.ndim != 2 or records.shape[1] < len(COLUMNS) or records.dtype != np.dtype("<u2"):
        raise DataError(f"view records are {records.dtype} {list(records.shape)}, expected uint16 [N, {len(COLUMNS)}]")
    op, partner = column(records, "op"), column(records, "partner")
    plainly = (op >> 8 == 0) & (column(records, "flip") <= 1)
    known = (mix_of(records) <= MIXUP) & (plainly | _known_look(records))
    if not known.all():
        row = int(np.flatnonzero(~known)[0])
        found = f"op {int(op[row])} and flip {int(column(records, 'flip')[row])}"
        raise DataError(f"view record {row} has {found}, which this raydc does not know. Update raydc")
    outside = (partner >= count) & ((mix_of(records) != PLAIN) | (partner != NO_PARTNER))
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DataError(f"view record {row} names partner row {int(partner[row])}, but the shard has {count} rows")
    if height is not None and width is not None:
        crop = records[:, 1:5].astype(np.int64)
        outside = (crop[:, 2:] < 1).any(axis=1) | (crop[:, :2] + crop[:, 2:] > (height, width)).any(axis=1)
        if outside.any():
            box = crop[np.flatnonzero(outside)[0]].tolist()
            raise DataError(f"a view record crops (top, left, h, w) {box}, but the images are {height}x{width}")


def _known_look(records: np.ndarray) -> np.ndarray:
    """Which records have a look of this version beyond a flip, bool ``[B]``."""
    high, look = column(records, "op") >> 8, column(records, "flip")
    in_list = (operations_of(records)[0] < len(OPERATIONS)).all(axis=1)
    return (high >= 1) & (high <= MAGNITUDES) & (look < 1 << 13) & in_list
