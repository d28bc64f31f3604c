"""A teacher's training from the first epoch to its record, cut and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raydc.config.axes.optimize import AdamW, Optimizer, Sgd
from raydc.config.axes.views import CutMix, Views
from raydc.config.stages.networks import Arch
from raydc.config.stages.squeeze import TeacherConfig, TrainConfig
from raydc.errors import DataError
from raydc.keys import Key
from raydc.sources.base import Source
from raydc.teachers.teacher import load
from raydc.teachers.train import keep, train_teacher

from .real import real_source

ARCH = Arch(use="small", name="resnet", options={"widths": [8, 8], "blocks": [1, 1]})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return real_source(tmp_path_factory.mktemp("real"))


def config(optimizer: Optimizer | None = None, epochs: int = 4, arch: Arch = ARCH) -> TeacherConfig:
    train = TrainConfig(epochs=epochs, batch=10, optimizer=optimizer or Sgd(use="sgd", lr=0.05), checkpoint_every=2,
                        views=Views(min_scale=0.5, mix=CutMix(use="cutmix")), pad=1, label_smoothing=0.1)  # fmt: skip
    return TeacherConfig(name="r", arch=arch, train=train)


def test_a_trained_teacher_knows_its_classes(source: Source, tmp_path: Path) -> None:
    training = train_teacher(config(epochs=8), source, Key((0,)))
    records = list(training)
    assert [r.epoch for r in records] == list(range(1, 9))
    assert [r.top1 is not None for r in records] == [False, True] * 4
    record = keep(training, config(), source, tmp_path / "r.safetensors")
    assert record.top1 == records[-1].top1 >= 0.9
    teacher = load(record, tmp_path / "r.safetensors")
    images = torch.stack([torch.from_numpy(source.image(source.validation, i)) for i in range(12)])
    found = teacher.logits(images.permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    assert (found == source.validation.label).mean() == pytest.approx(record.top1)


def test_the_same_training_gives_the_same_bytes(source: Source) -> None:
    one, other = (train_teacher(config(), source, Key((0,)), threads=t) for t in (1, 2))
    torch.manual_seed(5)
    list(one)
    torch.manual_seed(6)
    list(other)
    assert one.state() == other.state()
    assert one.seconds > 0
    different = train_teacher(config(), source, Key((1,)))
    list(different)
    assert different.state() != one.state()


@pytest.mark.parametrize("optimizer", [Sgd(use="sgd", lr=0.05, weight_decay=1e-3), AdamW(use="adamw", lr=1e-3)])
@pytest.mark.parametrize("arch", [ARCH, Arch(name="test_efficientnet", options={"drop_rate": 0.3})])
def test_a_resumed_training_ends_with_the_same_bits(source: Source, optimizer: Optimizer, arch: Arch) -> None:
    recipe = config(optimizer, 3 if arch != ARCH else 4, arch)
    whole = train_teacher(recipe, source, Key((0,)))
    list(whole)
    cut = train_teacher(recipe, source, Key((0,)))
    next(iter(cut))
    resumed = train_teacher(recipe, source, Key((0,)), state=cut.state())
    assert resumed.done == 1 and resumed.state() == cut.state()
    assert len(list(resumed)) == whole.epochs - 1
    assert resumed.state() == whole.state()
    assert resumed.records == whole.records


def test_a_foreign_or_damaged_state_is_refused(source: Source) -> None:
    training = train_teacher(config(), source, Key((0,)))
    state = training.state()
    other = train_teacher(config().model_copy(update={"name": "other"}), source, Key((0,)))
    with pytest.raises(DataError, match="is of 'r', expected 'other'"):
        other.load_state(state)
    with pytest.raises(DataError, match="checkpoint of 'r' is not a whole state file"):
        training.load_state(state[:-5])


def test_a_diverged_training_says_so(source: Source) -> None:
    with pytest.raises(DataError, match="the loss of 'r' is (nan|inf) in epoch .* at learning rate 1e.20.*diverged"):
        list(train_teacher(config(Sgd(use="sgd", lr=1e20)), source, Key((0,))))


def test_no_result_before_the_end(source: Source) -> None:
    training = train_teacher(config(), source, Key((0,)))
    next(iter(training))
    with pytest.raises(ValueError, match="at epoch 1 of 4"):
        training.result()
