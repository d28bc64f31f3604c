"""What students see: views of hard labels, whole images, DSA."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toys import build

from raydc.config.axes.augment import Dsa
from raydc.config.axes.views import CutMix, Views
from raydc.config.stages.evaluate import EvaluateConfig
from raydc.config.stages.judging import HardViews, Select
from raydc.config.stages.networks import Normalize
from raydc.errors import DataError
from raydc.keys import Key
from raydc.sources.condensed import CondensedDataset
from raydc.students.feed import StudentFeed
from raydc.students.looks import WHOLE, DsaLook, draws_anew, views_of
from raydc.students.protocol import best_rate, student_jobs, trial_jobs, with_rate

from .test_protocol import STUDENT, protocol

SIDE = 16
TAUGHT = Views(min_scale=0.3, mix=CutMix(use="cutmix"))


def feed(data: CondensedDataset, config: EvaluateConfig, labels: str, augment: str, **more: object) -> StudentFeed:
    return StudentFeed(
        data, labels, Key((0, "views")), batch=6, seed=0, size=SIDE, loss=config.loss,
        views=views_of(config, labels, augment, TAUGHT), fresh=draws_anew(config, labels, augment), **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> CondensedDataset:
    return CondensedDataset(build(str(tmp_path_factory.mktemp("toy") / "d")).folder.url)


def test_without_augmentation_students_see_the_stored_images_and_nothing_else(toy: CondensedDataset) -> None:
    for share, batch in zip(feed(toy, protocol(), "hard", "none")(3), toy.batches(3, 6), strict=True):
        images = torch.from_numpy(batch.images).permute(0, 3, 1, 2) / 255
        assert torch.equal(share.x01, images)
        assert share.target.partners is None and share.target.labels.tolist() == batch.labels.tolist()


def test_without_augmentation_soft_labels_are_of_the_whole_image(toy: CondensedDataset) -> None:
    asked = feed(toy, protocol(), "soft", "none", labeller=lambda x: x.mean((2, 3)))
    for share in asked(0):
        assert torch.equal(share.target.logits, share.x01.mean((2, 3)))
    with pytest.raises(DataError, match="no soft labels and no teacher"):
        next(iter(feed(toy, protocol(), "soft", "none")(0)))


def test_hard_labels_may_have_views_of_their_own_and_soft_ones_keep_theirs(toy: CondensedDataset) -> None:
    own = protocol(views=HardViews(min_scale=1.0, ratio=(1.0, 1.0), flip=1.0))
    for share, batch in zip(feed(toy, own, "hard", "protocol")(1), toy.batches(1, 6), strict=True):
        assert torch.equal(share.x01, torch.from_numpy(batch.images).permute(0, 3, 1, 2).flip(-1) / 255)
    for one, other in zip(feed(toy, own, "soft", "protocol")(1), feed(toy, protocol(), "soft", "protocol")(1),
                          strict=True):  # fmt: skip
        assert torch.equal(one.x01, other.x01) and torch.equal(one.target.logits, other.target.logits)


def test_dsa_is_another_look_at_each_batch_and_its_zeros_are_the_mean_colour(toy: CondensedDataset) -> None:
    norm = Normalize(mean=(0.2, 0.4, 0.6), std=(0.3, 0.3, 0.3))
    look = DsaLook(Dsa(use="dsa", ops=["cutout"]), norm, "cpu")
    config = protocol(views=HardViews(**WHOLE.model_dump(), dsa=Dsa(use="dsa")))
    plain, shown = feed(toy, config, "hard", "protocol"), feed(toy, config, "hard", "protocol", look=look)
    for one, other in zip(plain(0), shown(0), strict=True):
        changed = ((one.x01 - other.x01).abs() > 1e-5).any(1)
        assert 0.02 < changed.float().mean() < 0.3
        assert torch.allclose(other.x01.permute(0, 2, 3, 1)[changed], torch.tensor(norm.mean), atol=1e-6)
    again = [share.x01 for share in feed(toy, config, "hard", "protocol", look=look)(0)]
    assert all(torch.equal(a, b.x01) for a, b in zip(again, shown(0), strict=True))


def test_every_rate_is_tried_once_with_the_first_seed() -> None:
    config = protocol(seeds=[7, 8], select=Select(lr=[0.1, 0.01]), augment=["protocol", "none"])
    tried, wanted = trial_jobs(config), student_jobs(config)
    assert len(wanted) == 2 * 2 * 2 * 2 and len(tried) == 8 * 2
    assert {job.seed for job in tried} == {7} and {job.lr for job in tried} == {0.1, 0.01}
    assert len({job.name for job in [*tried, *wanted]}) == 8 * 2 + 16
    assert any(job.name.startswith("random-soft-whole-conv-lr0.01-s7-") for job in tried)
    assert trial_jobs(protocol()) == []
    assert config.repeats == 4 and config.kinds == 8


def test_the_best_rate_is_taken_and_of_equals_the_first() -> None:
    assert best_rate({0.1: 0.2, 0.01: 0.5, 0.001: 0.5}) == 0.01
    config = protocol()
    assert with_rate(config, None) is config
    assert with_rate(config, 0.25).optimizer.lr == 0.25 and with_rate(config, 0.25).epochs == config.epochs


def test_the_store_and_the_hands_at_work_are_no_part_of_a_protocol(tmp_path: Path) -> None:
    one, other = protocol(), protocol(store=str(tmp_path), workers=4, seeds=[5], students=[STUDENT], augment=["none"])
    assert one.effective() == other.effective() != protocol(batch=7).effective()
    with pytest.raises(ValueError, match="Give an absolute path or a URL"):
        protocol(store="shelf")
