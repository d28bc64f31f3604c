"""Does a foreign teacher know the data set? Outputs in another order and a wrong normalisation are found out."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raydc.config.axes.optimize import Sgd
from raydc.config.axes.views import Views
from raydc.config.stages.networks import Arch, Normalize
from raydc.config.stages.squeeze import TeacherConfig, TrainConfig
from raydc.errors import DataError
from raydc.keys import Key
from raydc.sources.base import Source
from raydc.teachers.teacher import Teacher, TeacherRecord, load
from raydc.teachers.train import keep, train_teacher
from raydc.teachers.trial import trial
from tests.teachers.real import real_source

CONFIG = TeacherConfig(
    name="t",
    arch=Arch(use="small", name="resnet", options={"widths": [8], "blocks": [1]}),
    normalize=Normalize(mean=(0.3, 0.3, 0.3), std=(0.2, 0.2, 0.2)),
    train=TrainConfig(epochs=4, batch=8, optimizer=Sgd(use="sgd", lr=0.1), views=Views(min_scale=0.9, flip=0.0)),
)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, TeacherRecord, Path]:
    folder = tmp_path_factory.mktemp("trial")
    source = real_source(folder)
    training = train_teacher(CONFIG, source, Key((0,)))
    list(training)
    return source, keep(training, CONFIG, source, folder / "w"), folder / "w"


def opened(record: TeacherRecord, path: Path, **changes: object) -> Teacher:
    return load(record.model_copy(update=changes), path)


def test_a_teacher_that_knows_the_data_gets_its_accuracy(learnt: tuple[Source, TeacherRecord, Path]) -> None:
    source, record, path = learnt
    assert trial(opened(record, path), source) == record.top1 == 1.0


@pytest.mark.parametrize(
    "changes", [{"columns": [1, 2, 0]}, {"normalize": Normalize(mean=(90.0,) * 3, std=(0.2, 0.2, 0.2))}],
    ids=["order", "normalisation"],
)  # fmt: skip
def test_a_teacher_that_does_not_is_refused(
    learnt: tuple[Source, TeacherRecord, Path], changes: dict[str, object]
) -> None:
    source, record, path = learnt
    with pytest.raises(DataError, match=r"teacher 't' puts .* of 12 validation images .* chance 33.3 %.*another order"):
        trial(opened(record, path, **changes), source)


@pytest.mark.parametrize(("images", "told"), [(3, False), (6, True), (12, True)])
def test_few_images_convict_only_whom_they_can(
    learnt: tuple[Source, TeacherRecord, Path], images: int, told: bool
) -> None:
    """Three images of three classes tell nothing: chance hits all three too often. No number is too few to pass."""
    source, record, path = learnt
    rows = np.concatenate([source.validation.of_class(c)[: images // 3] for c in range(3)])
    few = replace(source, validation=source.validation.take(rows))
    assert trial(opened(record, path), few) == 1.0
    with pytest.raises(DataError) if told else nullcontext():
        assert trial(opened(record, path, columns=[1, 2, 0]), few) == 0
