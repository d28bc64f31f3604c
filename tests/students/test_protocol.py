"""The protocol: equal steps, paired students, resumable trainings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import build

from raydc.config.axes.optimize import AdamW, Cosine, OneCycle
from raydc.config.axes.views import CutMix, Views
from raydc.config.stages.data import DataConfig
from raydc.config.stages.evaluate import EvaluateConfig, MseCe, WeightAverage
from raydc.config.stages.networks import Arch, Normalize, StudentConfig
from raydc.errors import DataError
from raydc.keys import Key
from raydc.sources.base import Source, open_source
from raydc.sources.condensed import CondensedDataset
from raydc.students.feed import RealImages
from raydc.students.protocol import StudentJob, student_jobs, train_student
from raydc.teachers.feed import Images
from raydc.teachers.training import Training

SIDE = 16
STUDENT = StudentConfig(name="conv", arch=Arch(use="small", name="convnet", options={"width": 4, "depth": 2}))


def protocol(**more: object) -> EvaluateConfig:
    return EvaluateConfig(**{"students": [STUDENT], "epochs": 4, "batch": 6, "test_every": 2} | more)


def job(data: str = "condensed", labels: str = "soft", seed: int = 0) -> StudentJob:
    return StudentJob(data=data, labels=labels, student=STUDENT, seed=seed)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> CondensedDataset:
    return CondensedDataset(build(str(tmp_path_factory.mktemp("toy") / "d")).folder.url)


@pytest.fixture(scope="module")
def digits() -> Source:
    pytest.importorskip("sklearn")
    return open_source(DataConfig(use="digits", image_size=SIDE, subset=["0", "1", "7"]), Key((0,)))


def student(one: StudentJob, data: object, digits: Source, config: EvaluateConfig, **more: object) -> Training:
    tests = Images(digits, digits.validation)
    return train_student(one, data, tests, config, Key((0,)), classes=3, image_size=SIDE, **more)


def test_every_student_is_a_job_with_a_name_of_its_own() -> None:
    other = StudentConfig(name="net", arch=Arch(use="small", name="resnet"))
    config = protocol(seeds=[0, 1], students=[STUDENT, other])
    jobs = student_jobs(config)
    assert len(jobs) == len({j.name for j in jobs}) == 2 * 2 * 2 * 2
    assert [j.seed for j in jobs] == [0] * 8 + [1] * 8
    assert jobs[0].name.startswith("condensed-soft-conv-s0-")
    assert StudentJob.model_validate_json(jobs[0].model_dump_json()).name == jobs[0].name
    wider = STUDENT.model_copy(update={"arch": Arch(use="small", name="convnet")})
    assert job().model_copy(update={"student": wider}).name != job().name


def test_every_data_set_gets_the_same_steps_rates_and_tests(toy: CondensedDataset, digits: Source) -> None:
    full = RealImages(Images(digits, digits.train))
    assert len(full) > 10 * len(toy)
    config = protocol(epochs=50, test_every=10, optimizer=AdamW(use="adamw", lr=5e-3, weight_decay=0.01))
    small, large = student(job(), toy, digits, config), student(job("full", "hard"), full, digits, config,
                                                                reference=len(toy))  # fmt: skip
    for one, other in zip(small, large, strict=True):
        assert (one.epoch, one.steps, one.lr) == (other.epoch, other.steps, other.lr)
        assert (one.top1 is None) == (other.top1 is None)
    assert large.result()["top1_last"] > 0.8


def test_larger_data_goes_on_where_the_epoch_before_left_it_also_after_a_resume(
    toy: CondensedDataset, digits: Source
) -> None:
    full = RealImages(Images(digits, digits.train))
    config = protocol(epochs=9)
    whole = student(job("full", "hard"), full, digits, config, reference=len(toy))
    states = {record.epoch: whole.state() for record in whole}
    resumed = student(job("full", "hard"), full, digits, config, reference=len(toy), state=states[5])
    assert [r.epoch for r in resumed] == [6, 7, 8, 9]
    assert resumed.state() == states[9]


@pytest.mark.parametrize("labels", ["soft", "hard"])
def test_a_resumed_student_ends_with_the_same_bits(toy: CondensedDataset, digits: Source, labels: str) -> None:
    config = protocol(optimizer=AdamW(use="adamw", lr=1e-3, weight_decay=0.01), schedule=Cosine(zeta=2.0))
    norm = Normalize(mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))
    whole = student(job(labels=labels), toy, digits, config, normalize=norm)
    records = list(whole)
    assert [r.top1 is not None for r in records] == [False, True, False, True]
    assert [r.lr for r in records] == pytest.approx([1e-3 * (1 + np.cos(np.pi * e / 8)) / 2 for e in range(4)])
    cut = student(job(labels=labels), toy, digits, config, normalize=norm)
    for record in cut:
        if record.epoch == 3:
            break
    torch.manual_seed(9)
    resumed = student(job(labels=labels), toy, digits, config, normalize=norm, state=cut.state())
    assert [r.epoch for r in resumed] == [4]
    assert resumed.state() == whole.state()
    assert resumed.result() == whole.result()


def test_an_averaged_student_resumes_to_the_bit_and_is_judged_by_the_average(
    toy: CondensedDataset, digits: Source
) -> None:
    config = protocol(
        optimizer=AdamW(use="adamw", lr=1e-2), schedule=OneCycle(use="one_cycle"), average=WeightAverage(decay=0.8),
        loss=MseCe(use="mse_ce", gamma=0.1),
    )  # fmt: skip
    whole, plain = (student(job(), toy, digits, c) for c in (config, config.model_copy(update={"average": None})))
    states = {record.epoch: whole.state() for record in whole}
    resumed = student(job(), toy, digits, config, state=states[2])
    list(resumed)
    assert resumed.state() == whole.state() and resumed.result() == whole.result()
    losses = [r.loss for r in plain]
    assert losses == [r.loss for r in whole.records]  # the average changes nothing but what is tested
    assert plain.fit.average is None and whole.fit.average is not None
    assert len(states[2]) > len(plain.state())


def test_students_of_a_seed_start_from_the_same_weights(toy: CondensedDataset, digits: Source) -> None:
    def first(one: StudentJob) -> torch.Tensor:
        return student(one, toy, digits, protocol()).fit.network.head.weight.detach()

    assert torch.equal(first(job()), first(job("random", "hard")))
    assert not torch.equal(first(job()), first(job(seed=1)))


def test_last_and_best_are_told_apart(toy: CondensedDataset, digits: Source) -> None:
    training = student(job(), toy, digits, protocol(epochs=6, test_every=1))
    records = list(training)
    result = training.result()
    assert result["top1_last"] == records[-1].top1
    assert result["top1_best"] == max(r.top1 for r in records)
    assert result["top5_last"] == 1.0
    assert "wall_s" not in result and training.seconds > 0


def test_a_student_learns_digits_from_mixed_views(digits: Source) -> None:
    images = Images(digits, digits.train)
    config = protocol(epochs=6, batch=32, test_every=6)
    views = Views(min_scale=0.7, flip=0.0, mix=CutMix(use="cutmix"))
    training = student(job("full", "hard"), RealImages(images), digits, config, views=views)
    list(training)
    assert training.result()["top1_last"] > 0.8


def test_one_image_is_not_a_data_set(tmp_path_factory: pytest.TempPathFactory, digits: Source) -> None:
    one = CondensedDataset(build(str(tmp_path_factory.mktemp("one") / "d"), shards=(1,)).folder.url)
    with pytest.raises(DataError, match="has 1 images to learn from"):
        student(job(), one, digits, protocol())
