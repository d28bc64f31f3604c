"""The arithmetic of a plan against the published runs (method specification, section 7)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from raydc.config.load import validate
from raydc.config.schema import RunConfig
from raydc.labels.views import COLUMNS
from raydc.plan.cost import RECORD_BYTES, Cost, cost
from raydc.plan.fleet import Fleet, Kind

RN18 = 2 * 1.814e9
RN18_21K = 2 * 1.819e9


def run(ipc: int, steps: int, **sections: Any) -> RunConfig:
    tree = {
        "name": "planned",
        "method": {"name": "cda"},
        "data": {"use": "folders", "train": "s3://bucket/train", "image_size": 224},
        "squeeze": {"teachers": [{"name": "t", "arch": {"name": "resnet18"}, "weights": "s3://bucket/t"}]},
        "synthesize": {
            "ipc": ipc,
            "steps": steps,
            "initialize": {"use": "noise"},
            "objective": [{"use": "cross_entropy"}],
        },
        **sections,
    }
    return validate(tree, "test")


def price(config: RunConfig, classes: int, gpus: int = 1, rate: float | None = None, euro: float | None = None) -> Cost:
    fleet = Fleet((Kind(gpus, rate, euro),))
    forward = RN18_21K if classes > 5_000 else RN18
    return cost(config, classes, classes, 2 * forward, forward, fleet)


def test_imagenet21k_at_20_images_a_class() -> None:
    planned = price(run(20, 2_000), 10_450)
    assert planned.images == 209_000
    assert planned.blocks == 2_100  # each of 20 passes ends with a block of 50 classes
    assert planned.image_steps == 418_000_000  # 4.18e8
    assert planned.synthesis_flop == pytest.approx(3.0e18, rel=0.02)
    assert planned.labels == 62_700_000
    assert planned.label_bytes == 62_700_000 * (24 + 2 * 10_450)
    assert round(planned.label_bytes / 1e9) == 1_312


def test_launches_are_of_blocks_of_one_size() -> None:
    planned = price(run(20, 2_000, engine={"blocks_per_launch": 4}), 10_450, rate=100.0)
    assert planned.blocks == 2_100 and planned.launches == 520 + 5
    assert planned.tail_hours == pytest.approx(400 * 2_000 / 100 / 3600)


@pytest.mark.parametrize(
    ("classes", "ipc", "steps", "image_steps", "flop"),
    [
        (1_000, 10, 4_000, 4.0e7, 2.9e17),
        (1_000, 50, 4_000, 2.0e8, 1.45e18),
        (1_000, 200, 4_000, 8.0e8, 5.8e18),
    ],
)
def test_imagenet1k(classes: int, ipc: int, steps: int, image_steps: float, flop: float) -> None:
    planned = price(run(ipc, steps), classes)
    assert planned.image_steps == image_steps
    assert planned.synthesis_flop == pytest.approx(flop, rel=0.01)


def test_images_that_begin_later_take_fewer_steps() -> None:
    """DELT, 8 rounds of 500 steps: 57.8 % of uniform steps at IPC 50 and 63.8 % at IPC 10 (specification, 2.2)."""
    for ipc, share in ((50, 0.5775), (10, 0.6375)):
        synthesize = run(ipc, 4_000).synthesize.model_copy(update={"rounds": 8})
        config = run(ipc, 4_000).model_copy(update={"synthesize": synthesize})
        assert price(config, 1_000).image_steps / price(run(ipc, 4_000), 1_000).image_steps == pytest.approx(
            share, abs=5e-4
        )


def test_relabelling_is_one_forward_a_view() -> None:
    planned = price(run(50, 4_000), 1_000)
    assert planned.labels == 15_000_000
    assert planned.label_flop == pytest.approx(5.4e16, rel=0.01)
    assert planned.label_bytes - planned.labels * RECORD_BYTES == 30_000_000_000  # 27.94 GiB of fp16 logits


def test_hours_and_price_follow_the_rate() -> None:
    """CDA: one RTX 4090 does ImageNet-1K at 50 images a class in 29 hours, 1,916 image-steps a second."""
    planned = price(run(50, 4_000), 1_000, rate=1_916, euro=2.0)
    assert planned.synthesis_hours == pytest.approx(29.0, rel=0.001)
    assert planned.price == pytest.approx(58.0, rel=0.001)
    four = price(run(50, 4_000), 1_000, gpus=4, rate=1_916, euro=2.0)
    assert four.synthesis_hours == pytest.approx(29.0 / 4, rel=0.001)
    assert four.price == pytest.approx(planned.price)


def test_what_is_not_known_is_left_open() -> None:
    planned = cost(run(1, 10), 10, 10, None, None, Fleet((Kind(1, None, 5.0),)))
    assert (planned.synthesis_flop, planned.label_flop, planned.synthesis_hours, planned.price) == (None,) * 4
    assert price(run(1, 10), 10, rate=100.0).price is None
    json.dumps(planned.as_dict(), allow_nan=False)


def test_fewer_classes_than_outputs() -> None:
    """Ten classes of a label space of a thousand: images by the ten, labels as wide as the space."""
    planned = cost(run(1, 300), 10, 1_000, 2 * RN18, RN18, Fleet((Kind(1),)))
    assert planned.images == 10 and planned.label_bytes == 10 * 300 * (24 + 2_000)


def test_a_run_without_labels_or_students() -> None:
    planned = price(run(1, 10, relabel=None, evaluate={"students": []}), 10)
    assert (planned.labels, planned.label_bytes, planned.label_shards, planned.students) == (0, 0, 0, 0)


def test_students_are_the_product_of_the_axes() -> None:
    arch = {"use": "small", "name": "convnet"}
    students = [{"name": "a", "arch": arch}, {"name": "b", "arch": arch}]
    evaluate = {"students": students, "data": ["condensed", "random", "full"], "labels": ["soft"], "seeds": [1, 2]}
    assert price(run(1, 10, evaluate=evaluate), 10).students == 12


def live(**sections: Any) -> Cost:
    """Of 10 classes x IPC 2, two students, three seeds, both kinds of labels, 5 epochs: what is labelled live."""
    arch = {"use": "small", "name": "convnet"}
    students = [{"name": "a", "arch": arch}, {"name": "b", "arch": arch}]
    evaluate = {"students": students, "seeds": [0, 1, 2], "epochs": 5, **sections.pop("evaluate", {})}
    return price(run(2, 10, evaluate=evaluate, **sections), 10)


def test_live_labels_are_a_forward_pass_of_every_view_that_students_see() -> None:
    every = live(relabel={"mode": "live"}, evaluate={"data": ["condensed", "random", "full"]})
    assert every.live_labels == 2 * 3 * 3 * 5 * 20  # students x seeds x data x epochs x images
    assert every.live_label_flop == pytest.approx(1_800 * RN18)
    assert (every.labels, every.label_flop) == (0, 0)


def test_stored_labels_leave_the_full_data_to_be_labelled_live() -> None:
    stored = live(evaluate={"data": ["condensed", "random", "full"]})
    assert stored.live_labels == 2 * 3 * 5 * 20 and stored.labels == 20 * 300
    for settings in ({"data": ["condensed", "random"]}, {"data": ["full"], "labels": ["hard"]}):
        assert live(evaluate=settings).live_labels == 0
    assert live(relabel=None, evaluate={"labels": ["hard"]}).live_label_flop == 0


def test_every_setting_that_costs_is_counted() -> None:
    base = price(run(2, 10), 250)
    assert price(run(4, 10), 250).images == 2 * base.images
    assert price(run(2, 10, pack={"format": "jpg"}), 250).image_bytes < base.image_bytes
    assert price(run(2, 10, pack={"shard_size": 100}), 250).label_shards == 5 and base.label_shards == 1
    assert price(run(2, 10, relabel={"views": 30}), 250).label_bytes * 10 == base.label_bytes
    assert price(run(2, 10, relabel={"codec": "int8"}), 250).label_bytes < 0.6 * base.label_bytes


def test_a_record_has_the_bytes_that_are_counted() -> None:
    assert 2 * len(COLUMNS) == RECORD_BYTES


def test_sets_side_by_side_are_counted_and_ask_the_teachers_once() -> None:
    base = price(run(2, 10), 250)
    assert price(run(2, 10, relabel={"also": [{"name": "b"}, {"name": "c"}]}), 250).students == 2 * base.students
    also = [{"name": "small", "views": 30, "codec": "int4"}]
    both = price(run(2, 10, relabel={"also": also}), 250)
    assert both.labels == base.labels and both.label_flop == base.label_flop
    assert both.label_bytes - base.label_bytes == base.images * 30 * (24 + 4 + 125)
