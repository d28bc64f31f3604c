"""Mosaic: a grid of the crops that a teacher is surest of, each of another real image.

Formula: of each of the first ``candidates`` images of a keyed permutation, ``crops`` square crops p of side S // factor
(``RandomResizedCrop``, area ``min_scale`` to 1) are scored by -log softmax(teacher(p set in the middle of S x S
zeros))[class], and the best one stays. The IPC * factor^2 best of the class, best first: rank r goes into image
r mod IPC, cell r div IPC, row by row, so that every image holds crops of all ranks.
Source: RDED, arXiv 2312.03526, section 4; ``synthesize/main.py``, ``synthesize/utils.py`` (``selector``,
``mix_images``). Crops are cut from the images as they are stored, before ``data.resize``, as there. Where S is no
multiple of the factor, the first rows and columns of cells are a pixel larger (nearest neighbour), as there.
Unlike there, a class with fewer than ``candidates`` images is scored whole, the normalisation is the teacher's own
(there ImageNet's for all), and pixels are rounded and not truncated.
Defaults: factor 2, 300 candidates and 5 crops, the paper's ImageNet-1K scripts; min_scale 0.08, torchvision's. Factor 1
up to 64 pixels.
Not for: data sets whose pictures must not be recognisable in the product.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

from raydc.condense.guide import Guide
from raydc.condense.initialize.gallery import Gallery
from raydc.condense.initialize.pick import Pick, resized
from raydc.condense.initialize.place import Material, Place
from raydc.condense.initialize.score import BATCH, log_probabilities
from raydc.config.axes.initialize import Mosaic
from raydc.keys import Key
from raydc.labels.views import resized_crop_boxes


def choose(config: Mosaic, key: Key, label: int, ipc: int, size: int, gallery: Gallery, guide: Guide) -> list[Pick]:
    """The crops of all images of a class by rank, ``ipc * factor**2`` of them; their score is the cross-entropy.

    Raises:
        ValueError: too few candidates, more cells than pixels, or answers that are not finite.
    """
    needed, count = config.least(ipc), gallery.count(label)
    available = min(config.candidates, count)
    if available < needed:
        raise ValueError(
            f"initialize: mosaic takes {needed} crops of different images for {ipc} pictures of class {label}, but "
            f"{available} are looked at: the class has {count}, synthesize.initialize.candidates is "
            f"{config.candidates}. Lower synthesize.ipc or the factor, or raise candidates"
        )
    side = size // config.factor
    if side == 0:
        raise ValueError(f"initialize: mosaic cannot put {config.factor} cells along {size} pixels. Lower the factor")
    key = key.child("mosaic", label)
    candidates = key.child("candidates").permutation(count)[:available].tolist()
    best: list[Pick] = []
    step = max(1, BATCH // config.crops)
    parts = [candidates[first : first + step] for first in range(0, available, step)]
    cut = gallery.ahead(partial(_crops, config, key, label, part, side, gallery) for part in parts)
    for part, (boxes, crops) in zip(parts, cut, strict=True):
        best += _best(config.crops, part, boxes, log_probabilities(guide, crops, label, size))
    return sorted(best, key=lambda pick: pick.score)[:needed]


def _crops(
    config: Mosaic, key: Key, label: int, indices: list[int], side: int, gallery: Gallery
) -> tuple[list[list[int]], torch.Tensor]:
    """The crops of these images, one image after another; of each its box and its pixels.

    A crop depends on its image alone, not on which others are looked at.
    """
    boxes, crops = [], []
    for index, pixels in zip(indices, gallery.originals(label, indices), strict=True):
        height, width = pixels.shape[1:]
        drawn = resized_crop_boxes(
            key.child("crops", index), config.crops, height, width, config.min_scale, ratio=(1.0, 1.0)
        )
        boxes += drawn.tolist()
        crops += [resized(pixels, box, side) for box in drawn.tolist()]
    return boxes, torch.stack(crops)


def _best(crops: int, indices: list[int], boxes: list[list[int]], scores: list[float]) -> list[Pick]:
    """The best of the ``crops`` crops of each of these images."""
    best = []
    for place, index in enumerate(indices):
        won = max(range(place * crops, (place + 1) * crops), key=scores.__getitem__)
        top, left, height, width = boxes[won]
        best.append(Pick(index, top, left, height, width, -scores[won]))
    return best


def image(config: Mosaic, place: Place, real: Material) -> torch.Tensor:
    """Put the grid of one picture together, float32 ``[3, size, size]`` in the space.

    Raises:
        ValueError: no real data, or not the picks of that many images.
    """
    gallery, picks = real.picked(config.use, place.label, config.least(place.ipc))
    size, factor = place.size, config.factor
    side, larger = divmod(size, factor)
    lengths = [side + (n < larger) for n in range(factor)]
    begins = [n * side + min(n, larger) for n in range(factor)]
    chosen = [picks[cell * place.ipc + place.index] for cell in range(factor**2)]
    originals = gallery.originals(place.label, [pick.image for pick in chosen])
    picture = torch.empty(3, size, size)
    for cell, (pick, pixels) in enumerate(zip(chosen, originals, strict=True)):
        row, column = divmod(cell, factor)
        top, left, height, width = begins[row], begins[column], lengths[row], lengths[column]
        crop = resized(pixels, (pick.top, pick.left, pick.height, pick.width), side)
        fitted = F.interpolate(crop[None], size=(height, width), mode="nearest")[0]
        picture[:, top : top + height, left : left + width] = fitted
    return place.space.normalize(picture).cpu()
