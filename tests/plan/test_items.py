"""A plan number by number: the run on ImageNet-21K as its config states it, and what each number rests on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raydc.config import load
from raydc.engine.inspection import planned
from raydc.labels.codecs import CODECS
from raydc.plan.cost import Networks, cost
from raydc.plan.fleet import Fleet, Kind, parse_fleet
from raydc.plan.items import LABEL_FILE_BYTES, Plan, items
from raydc.plan.passes import passes
from raydc.report.planned import lines

CONFIGS = Path(__file__).parents[2] / "configs"


def of(config: str, *fleet: str, overrides: list[str] | None = None) -> Plan:
    found = load(str(CONFIGS / f"{config}.yaml"), overrides or [])
    return planned(found, parse_fleet(fleet) if fleet else Fleet((Kind(1),)))


@pytest.fixture(scope="module")
def imagenet21k() -> dict[str, Any]:
    return of("imagenet21k-cda", "8:26700:2.5", "16:4000:0.7").as_dict()


def test_imagenet21k_says_how_many_blocks_and_why(imagenet21k: dict[str, Any]) -> None:
    assert imagenet21k["blocks"] == 2_100  # the 2,090 of a division by 100 would need blocks across two passes
    assert imagenet21k["notes"]["blocks"].startswith("105 groups of up to 100 classes x IPC 20")


def test_imagenet21k_in_numbers(imagenet21k: dict[str, Any]) -> None:
    assert imagenet21k["images"] == 209_000 and imagenet21k["image_steps"] == 418_000_000
    assert imagenet21k["synthesis_flop"] == pytest.approx(3.04e18, rel=0.01)
    assert imagenet21k["statistics_bytes"] == 2 * 4 * 4_800  # the channels of a ResNet-18's BatchNorm layers
    assert imagenet21k["checkpoint_bytes"] == 4 * 100 * 3 * 224 * 224 * 4 * 3
    assert imagenet21k["label_bytes"] == 209_000 * 8 * (24 + 10_454)
    assert imagenet21k["label_bytes_fp16"] == 209_000 * 8 * (24 + 20_900)
    assert imagenet21k["stored_bytes"] == 2 * (imagenet21k["label_bytes"] + imagenet21k["image_bytes"])
    assert imagenet21k["label_file_bytes"] == 8 * 1_024 * 10_478 < LABEL_FILE_BYTES


def test_imagenet21k_on_a_mixed_fleet(imagenet21k: dict[str, Any]) -> None:
    assert imagenet21k["synthesis_hours"] == pytest.approx(418e6 / 277_600 / 3600)
    assert imagenet21k["tail_hours"] == pytest.approx(100 * 2_000 / 4_000 / 3600)
    assert imagenet21k["price"] == pytest.approx(imagenet21k["synthesis_hours"] * 31.2)
    hours = ("synthesis_hours", "tail_hours", "label_hours", "student_hours")
    assert imagenet21k["total_hours"] == pytest.approx(sum(imagenet21k[h] for h in hours))


def test_students_are_bound_by_how_many_are_trained_at_once() -> None:
    one, many = (of("imagenet21k-cda", f"{n}:1000").as_dict()["student_hours"] for n in (4, 400))
    assert many == pytest.approx(one)  # four at once on either fleet


def test_every_codec_is_named_and_one_is_marked() -> None:
    for codec in ("fp16", "int8", "int4", "{use: top_k, k: 10}"):
        items = of("quickstart", overrides=[f"relabel.codec={codec}"]).items
        found = [i for i in items if i.label.startswith("labels as")]
        assert {i.label.split()[2] for i in found} == {*CODECS}
        assert [i.label.split()[2] in codec for i in found if "CHOSEN" in i.note] == [True]


def test_a_checkpoint_is_of_the_images_that_a_block_has_and_not_of_those_it_might_have() -> None:
    quick = of("quickstart").as_dict()
    assert quick["checkpoint_bytes"] == 2 * 4 * 3 * 10 * 3 * 32 * 32, "ten classes, one image of each, two workers"


def test_labels_are_split_into_files_as_the_engine_splits_them() -> None:
    found = of("imagenet21k-cda", overrides=["relabel.views=300", "relabel.codec=fp16"]).as_dict()
    assert found["label_file_bytes"] <= LABEL_FILE_BYTES < found["label_file_bytes"] + 1_024 * 20_924


def test_digits_are_counted_without_being_asked_for() -> None:
    found = of("quickstart", "2:350").as_dict()
    assert found["squeeze_flop"] == pytest.approx(3 * 25e6 * 1_438 * 20, rel=0.01)
    assert found["total_hours"] > found["synthesis_hours"]


def test_what_is_not_known_is_open_in_both_outputs() -> None:
    found = of("imagenet1k-cda")
    assert found.as_dict()["synthesis_hours"] is None and "total_hours" not in found.as_dict()
    assert any(line.split()[:2] == ["hours", "-"] for line in lines(found.items))


def test_what_a_run_does_not_do_is_nothing_in_json() -> None:
    found = of("imagenet1k-lite0-demo").as_dict()
    assert (found["labels"], found["label_bytes"], found["students"]) == (0, 0, 0)


def test_the_values_are_plain_json() -> None:
    config = load(str(CONFIGS / "cifar100-sre2l.yaml"), [])
    tree = json.loads(json.dumps(planned(config, Fleet((Kind(2, 100.0, 1.0),))).as_dict(), allow_nan=False))
    assert tree["synthesis_hours"] == pytest.approx(tree["image_steps"] / 200 / 3600)


WIDTHS = {"resnet18": 8_963, "mobilenet_v2": 33_391, "efficientnet_b0": 50_655, "shufflenet": 7_437, "alexnet": 1_102}
"""Channels and tiles of the pool of EDC at 224 px: half of the floats a class in its released format."""
MATCH = {"use": "conv_statistics", "category": 0.5}


def statistics_items(overrides: list[str]) -> dict[str, Any]:
    """What a plan for 10,450 classes says of statistics, in the words of ImageNet-21K's config."""
    run = load(str(CONFIGS / "imagenet21k-cda.yaml"), overrides)
    fleet = Fleet((Kind(1),))
    networks = Networks(tuple(WIDTHS), None, None, norm_channels=4_800, weights=1, statistics=WIDTHS)
    over = passes(run, 10_450, 10_450, networks)
    found = items(run, cost(run, 10_450, 10_450, None, None, fleet), networks, over, 10_450, fleet)
    return {i.key: i for i in found if i.key.startswith("statistics")}


def test_statistics_of_classes_are_counted_for_the_node_and_for_the_block() -> None:
    terms = [{"use": "cross_entropy"}, {"use": "bn_statistics", "category": 0.5}, MATCH]
    objective = f"synthesize.objective={json.dumps(terms)}"
    found = statistics_items([objective])
    numbers = 2 * sum(WIDTHS.values())
    assert numbers == 203_096
    assert found["statistics_bytes"].value == numbers * 4 * (10_450 + 1) == pytest.approx(8.49e9, rel=1e-3)
    assert "resnet18 10,450 classes x 17,926: 0.749 GB" in found["statistics_bytes"].note
    assert found["statistics_block_bytes"].value == numbers * 4 * (100 + 1)
    half = statistics_items([objective, "squeeze.statistics.precision=fp16"])
    assert half["statistics_bytes"].value == numbers * (2 * 10_450 + 4)
    one = statistics_items([objective, "synthesize.blocks.group=class_major", "synthesize.blocks.size=80"])
    assert one["statistics_block_bytes"].note.startswith("at most 4 classes")  # IPC 20


def test_statistics_of_all_data_alone_are_small_and_none_are_none() -> None:
    found = statistics_items([f"synthesize.objective={json.dumps([{**MATCH, 'category': 0}])}"])
    assert found["statistics_bytes"].value == found["statistics_block_bytes"].value == 203_096 * 4
    plain = statistics_items([])
    assert plain["statistics_bytes"].value == 8 * 4_800 and "statistics_block_bytes" not in plain


def test_people_read_a_heading_for_each_stage_and_a_note_beside_each_number() -> None:
    found = lines(of("imagenet21k-cda", "8:26700:2.5").items)
    assert [line for line in found if line and not line.startswith(" ")] == [
        "squeeze", "synthesize", "relabel", "evaluate", "in all",
    ]  # fmt: skip
    assert any("2,100" in line and "105 groups" in line for line in found)
    assert any("CHOSEN" in line and "17.5 GB" in line for line in found)


def test_students_split_over_devices_and_labellers_beside_them() -> None:
    def hours(*overrides: str) -> dict[str, Any]:
        return of("imagenet21k-cda", "8:26700:2.5", overrides=["evaluate.workers=1", *overrides]).as_dict()

    alone, split = hours(), hours("evaluate.split=4")
    assert split["student_hours"] == pytest.approx(alone["student_hours"] / 4)
    own, apart = hours("relabel.mode=live"), hours("relabel.mode=live", "relabel.labellers=2")
    assert apart["student_hours"] == own["student_hours"]
    assert apart["live_label_hours"] == pytest.approx(own["live_label_hours"] / 2)
