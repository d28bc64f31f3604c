"""The teachers that label, as a run asks for them: before students learn, or while they do."""

from __future__ import annotations

import numpy as np
import torch

from raydc.condense.views import render
from raydc.config import RunConfig
from raydc.config.axes.execution import Execution
from raydc.config.stages.networks import Normalize
from raydc.config.stages.relabel import Ensemble
from raydc.engine.run import Run
from raydc.engine.weights import teacher
from raydc.keys import Key
from raydc.labels.views import column
from raydc.teachers.ensemble import Teachers


def stored(config: RunConfig) -> bool:
    """Whether a run keeps soft labels beside its images."""
    return config.relabel is not None and config.relabel.mode == "stored"


def teacher_names(config: RunConfig) -> list[str]:
    """The labelling teachers, in order."""
    ensemble = config.relabel.teachers if config.relabel else Ensemble()
    return ensemble.pick([t.name for t in config.squeeze.teachers])


def normalize_of(config: RunConfig) -> Normalize:
    """What students' inputs are normalised by: as the first teacher that labels expects them."""
    first = teacher_names(config)[0]
    return next(t.normalize for t in config.squeeze.teachers if t.name == first)


def teachers(run: Run, on: torch.device, execution: Execution) -> Teachers:
    """The labelling teachers of a run, on a device, executed as it says (``engine/labelling.py``)."""
    config = run.config.relabel.teachers if run.config.relabel else Ensemble()
    return Teachers([teacher(run, name, on) for name in teacher_names(run.config)], config, execution)


@torch.inference_mode()
def answers(
    teachers: Teachers,
    images: torch.Tensor,
    records: np.ndarray,
    size: int,
    key: Key,
    part: tuple[int, int] = (0, 1),
) -> torch.Tensor:
    """What teachers say of one view of each image.

    Args:
        teachers: frozen, on the device of the images.
        images: u8 ``[N, 3, H, W]``, all of a shard, for partners lie in it.
        records: of the views, u16 ``[N, 12]``.
        size: side of a view.
        key: of the view; where the batch is part of the answer, it draws who is answered together.
        part: rank and number of those who share out the work; what others answer is zero here.

    Returns:
        Logits f32 ``[N, K]``, on the device of the images.
    """
    rank, world = part
    logits = (torch.empty if world == 1 else torch.zeros)((len(images), teachers.classes), device=images.device)
    for rows in together(teachers, len(images), key)[rank::world]:
        logits[torch.from_numpy(rows).to(images.device)] = answer(teachers, images, records, size, rows)
    return logits


def together(teachers: Teachers, count: int, key: Key) -> list[np.ndarray]:
    """Which of ``count`` images are answered at once, int64 each, in the order of the work; ``key`` is the view's."""
    order = key.child("together").permutation(count) if teachers.together else np.arange(count)
    return [order[piece] for piece in teachers.pieces(count)]


@torch.inference_mode()
def answer(teachers: Teachers, images: torch.Tensor, records: np.ndarray, size: int, rows: np.ndarray) -> torch.Tensor:
    """What teachers say of some images of a shard, seen at once, f32 ``[R, K]``; arguments as :func:`answers`."""
    partner = np.minimum(column(records, "partner").astype(np.int64), len(images) - 1)[rows]
    mine, other = (torch.from_numpy(r).to(images.device) for r in (rows, partner))
    return teachers.answer(render(images[mine], records[rows], size, images[other], records[partner]))
