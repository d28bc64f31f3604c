"""View records to pixels: what teacher and student both see of a stored image.

Teacher and student must use this one sampler, or the label belongs to another picture; its name stands in the
manifest. Crops are enlarged with bilinear interpolation, half-pixel centres and no antialiasing filter, the rule of
torchvision's ``resized_crop`` on tensors (within 1e-4, a fortieth of a grey level: sampling points are rounded to
float32). A whole image at its own size is copied exactly. What an image is rendered to does not depend on the batch
it is rendered in. Strips and operations come before the crop, at the stored size; partners have their own. Columns of
a record: ``raydc/labels/views.py``.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from raydc.condense.randaugment import operate
from raydc.labels.views import CUTMIX, LAMBDA_ONE, PLAIN, column, flips_of, halves_of, mix_of, operations_of

SAMPLER = "bilinear-v1"


def render(
    images: torch.Tensor,
    records: np.ndarray,
    size: int,
    partners: torch.Tensor | None = None,
    partner_records: np.ndarray | None = None,
) -> torch.Tensor:
    """Render one view of each image.

    Args:
        images: uint8 ``[B, 3, H, W]``, stored pixels.
        records: uint16 ``[B, 12]``, one view record an image.
        size: side of the view.
        partners: uint8 ``[B, 3, H, W]``, the images mixed in; needed if any record mixes.
        partner_records: uint16 ``[B, 12]``, the partners' records of the same view.

    Returns:
        float32 ``[B, 3, size, size]`` in [0, 1].
    """
    views = look(images, records, size)
    mixed = np.flatnonzero(mix_of(records) != PLAIN)
    if len(mixed) == 0:
        return views
    if partners is None or partner_records is None:
        raise ValueError(f"{len(mixed)} of {len(records)} view records mix two images, but no partners were given")
    if len(mixed) == len(records):
        return _mixed(views, look(partners, partner_records, size), records, size)
    rows = torch.from_numpy(mixed).to(views.device)
    others = look(partners[rows], partner_records[mixed], size)
    views[rows] = _mixed(views[rows], others, records[mixed], size)
    return views


def _mixed(views: torch.Tensor, others: torch.Tensor, records: np.ndarray, size: int) -> torch.Tensor:
    """Views and those of their partners, both ``[B, 3, size, size]``, put together; every record mixes."""
    pasted = mix_of(records) == CUTMIX
    if pasted.all():
        return torch.where(_inside(records, size, views.device), others, views)
    own = torch.from_numpy(column(records, "lam") / np.float32(LAMBDA_ONE)).to(views.device).view(-1, 1, 1, 1)
    blended = own * views + (1.0 - own) * others
    if not pasted.any():
        return blended
    where = torch.from_numpy(pasted).to(views.device).view(-1, 1, 1, 1)
    return torch.where(where, torch.where(_inside(records, size, views.device), others, views), blended)


def look(images: torch.Tensor, records: np.ndarray, size: int) -> torch.Tensor:
    """Prepare, crop, enlarge and flip each image by its own record, without mixing. Shapes as in :func:`render`."""
    top, left, height, width = (column(records, f"crop_{s}").astype(np.int64) for s in ("top", "left", "h", "w"))
    flips = flips_of(records)
    images = _prepared(images, records)
    tall, wide = images.shape[2:]
    if (tall, wide) == (size, size):
        whole = (height == size) & (width == size)
        if whole.all():
            return _copy(images, flips)
        views = _sample(images, _points(top, height, size, tall), _points(left, width, size, wide, flips))
        if whole.any():
            rows = np.flatnonzero(whole)
            index = torch.from_numpy(rows).to(images.device)
            views[index] = _copy(images[index], flips[rows])
        return views
    return _sample(images, _points(top, height, size, tall), _points(left, width, size, wide, flips))


def _prepared(images: torch.Tensor, records: np.ndarray) -> torch.Tensor:
    """What comes before the crop: halves change places, operations. The images themselves stay as they are."""
    if not (column(records, "op") >> 8).any():
        return images
    for axis, swaps in zip((3, 2), halves_of(records).T, strict=True):
        side = images.shape[axis]
        turned = images.roll(side - side // 2, axis)
        images = torch.where(torch.from_numpy(swaps).to(images.device).view(-1, 1, 1, 1), turned, images)
    for operations, magnitudes in zip(*(part.T for part in operations_of(records)), strict=True):
        images = operate(images, operations, magnitudes)
    return images


def _copy(images: torch.Tensor, flips: np.ndarray) -> torch.Tensor:
    views = images.to(torch.float32, copy=True).div_(255.0)
    mirrored = torch.from_numpy(np.flatnonzero(flips)).to(images.device)
    views[mirrored] = views[mirrored].flip(-1)
    return views


def _points(
    start: np.ndarray, length: np.ndarray, size: int, side: int, flips: np.ndarray | None = None
) -> torch.Tensor:
    """Where along one axis the pixels of each view lie, float32 ``[B, size]`` in the [-1, 1] of ``grid_sample``.

    Points are kept between the centres of the crop's outermost pixels, so nothing outside the crop shines in.
    """
    inner = (np.arange(size) + 0.5) * (length[:, None] / size) - 0.5
    points = start[:, None] + np.clip(inner, 0.0, length[:, None] - 1.0)
    if flips is not None:
        points[flips] = points[flips, ::-1]
    return torch.from_numpy(((2.0 * points + 1.0) / side - 1.0).astype(np.float32))


def _sample(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    batch, size = rows.shape
    y = rows.to(images.device)[:, :, None].expand(batch, size, size)
    x = columns.to(images.device)[:, None, :].expand(batch, size, size)
    grid = torch.stack([x, y], dim=-1)
    views = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return views.div_(255.0)


def _inside(records: np.ndarray, size: int, device: torch.device) -> torch.Tensor:
    """Which pixels of each view belong to the partner, bool ``[B, 1, size, size]``."""
    box = (column(records, f"box_{side}").astype(np.int64)[:, None] for side in ("top", "left", "h", "w"))
    top, left, height, width = box
    line = np.arange(size)[None, :]
    rows, columns = (line >= top) & (line < top + height), (line >= left) & (line < left + width)
    return torch.from_numpy(rows[:, None, :, None] & columns[:, None, None, :]).to(device)
