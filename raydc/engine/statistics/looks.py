"""What the teachers are shown of a training image: a crop of it as it is stored, a window of that, mirrored or not.

With ``views.min_scale`` below 1 torchvision's ``RandomResizedCrop``, boxes drawn on the height and width of the image
itself and resized with antialiasing; at 1 the image as the data set's resize rule brings it. Then ``RandomCrop`` with
``pad`` zeros around, then the flip.
Source: G-VBSM and EDC, ``recover.py``: ``RandomResizedCrop(224)`` and a flip (ImageNet); ``RandomCrop(32, padding=4)``
and a flip (CIFAR). Unlike there, crops are not rounded to 256 levels after they were resized.

A look is drawn from (run, pass, row of the image) alone: it hangs on no unit, batch or worker, and all teachers see the
same one, so that an image is read and cut once for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from raydc.condense.initialize.pick import resized
from raydc.config.stages.squeeze import StatisticsConfig
from raydc.engine.gallery import channels_first, original
from raydc.keys import Key
from raydc.labels.views import resized_crop_boxes
from raydc.sources.base import Source
from raydc.sources.places import in_threads
from raydc.teachers.feed import shifted


@dataclass(frozen=True)
class Looks:
    """The looks at the training images of a source."""

    source: Source
    key: Key
    """Of all looks of a run."""
    config: StatisticsConfig

    def images(self, turn: int, rows: np.ndarray) -> torch.Tensor:
        """One look at each of some images, read and cut in a few threads.

        Args:
            turn: which pass over the data, from 0.
            rows: int64 ``[n]`` of the training split.

        Returns:
            float32 ``[n, 3, S, S]`` in [0, 1], S the side of the data set's images.

        Raises:
            DataError: an image that cannot be read or decoded.
        """
        return torch.stack(in_threads(partial(self.image, turn), rows.tolist()))

    def image(self, turn: int, row: int) -> torch.Tensor:
        """One look at one image, float32 ``[3, S, S]`` in [0, 1]."""
        key, pad = self.key.child(turn, row), self.config.pad
        look = self._cropped(key.child("crop"), row)
        if pad:
            look = shifted(look[None], key.child("pad").integers(0, 2 * pad + 1, 1, 2), pad)[0]
        mirrored = bool(key.child("flip").uniform(1)[0] < self.config.views.flip)
        return look.flip(-1) if mirrored else look

    def _cropped(self, key: Key, row: int) -> torch.Tensor:
        views = self.config.views
        if views.min_scale == 1:
            return channels_first(self.source.image(self.source.train, row)).float() / 255.0
        pixels = original(self.source, row)
        height, width = pixels.shape[1:]
        boxes = resized_crop_boxes(key, 1, height, width, views.min_scale, views.max_scale, views.ratio)
        top, left, tall, wide = boxes[0].tolist()
        return resized(pixels, (top, left, tall, wide), self.source.config.image_size)
