"""A teacher trained on the spot: from a recipe and a real data set to a frozen record."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import distributed

from raydc.config.stages.squeeze import TeacherConfig
from raydc.keys import Key
from raydc.sources.base import Source
from raydc.teachers.feed import Images, TeacherFeed, batch_cuts, whole_batches
from raydc.teachers.fit import Fit
from raydc.teachers.networks import build
from raydc.teachers.teacher import TeacherRecord, save
from raydc.teachers.training import Training


def train_teacher(
    config: TeacherConfig,
    source: Source,
    key: Key,
    *,
    device: torch.device | str = "cpu",
    group: distributed.ProcessGroup | None = None,
    state: bytes | None = None,
    cache_bytes: int = 1 << 30,
    threads: int = 1,
) -> Training:
    """Prepare the training of a teacher; iterate the result to train, one record an epoch.

    Accuracy on ``source.validation`` is measured every ``checkpoint_every`` epochs and after the last. The last
    weights are the teacher's, never the best ones: the validation split must not choose.

    Args:
        config: a teacher with a ``train`` recipe.
        source: the real data.
        key: of the run; the teacher's name is added here.
        device: where to train.
        group: of data-parallel ranks, all calling this alike; None: alone.
        state: of :meth:`Training.state`, to go on from; None: from the beginning.
        cache_bytes: memory for decoded images, for each split.
        threads: that decode and render ahead of the network.
    """
    if config.train is None:
        raise ValueError(f"teacher '{config.name}' has no recipe; its weights are to be adopted")
    recipe, key = config.train, key.child("squeeze", config.name)
    network = build(config.arch, len(source.classes), source.config.image_size, key.child("weights"))
    pace = 1 + len(batch_cuts(len(source.train), recipe.batch))
    fit = Fit(network, recipe, key=key.child("steps"), pace=pace, normalize=config.normalize, device=device,
              group=group)  # fmt: skip
    feed = TeacherFeed(Images(source, source.train, cache_bytes), recipe, key.child("feed"), device=device,
                       rank=fit.rank, world=fit.world, threads=threads)  # fmt: skip
    tests = partial(whole_batches, Images(source, source.validation, cache_bytes), recipe.batch, device,
                    rank=fit.rank, world=fit.world)  # fmt: skip
    training = Training(config.name, fit, feed, tests, epochs=recipe.epochs, test_every=recipe.checkpoint_every)
    if state is not None:
        training.load_state(state)
    return training


def keep(training: Training, config: TeacherConfig, source: Source, path: Path) -> TeacherRecord:
    """Write the weights of a finished training to ``path`` and describe the teacher."""
    top1 = training.result()["top1_last"]
    return TeacherRecord(
        name=config.name, arch=config.arch, normalize=config.normalize, outputs=len(source.classes),
        image_size=source.config.image_size, sha256=save(training.fit.network, path),
        origin=f"trained on {source.config.name}", top1=top1,
    )  # fmt: skip
