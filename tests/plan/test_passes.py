"""What comes before the first step and beside the students, by hand: RDED, DELT, EDC at the scale of their papers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from raydc.config import load
from raydc.config.schema import RunConfig
from raydc.engine.inspection import networks_of
from raydc.plan.cost import Networks, cost
from raydc.plan.fleet import Fleet, parse_fleet
from raydc.plan.item import Item
from raydc.plan.items import items
from raydc.plan.passes import NOT_KNOWN, passes

CONFIGS = Path(__file__).parents[2] / "configs"
RESNET18 = 2 * 1.814e9
"""FLOP of a forward pass at 224, a multiply-add as two."""
IMAGENET1K, IMAGENET21K = 1_281_167, 11_060_223
EIGHT = "8:1916:0.4"
RATE = 8 * 1_916 * 2 * RESNET18
"""FLOP a second of eight devices that take 1,916 image-steps of a ResNet-18 each."""


def read(config: str, overrides: list[str] | None = None) -> RunConfig:
    return load(str(CONFIGS / f"{config}.yaml"), overrides or [])


def resnet18(images: int | None) -> Networks:
    """One ResNet-18 that does all, and so many training images."""
    return Networks(("resnet18",), 2 * RESNET18, RESNET18, 4_800, 1, forward={"resnet18": RESNET18},
                    students={"resnet18": RESNET18}, train_images=images)  # fmt: skip


def of(run: RunConfig, classes: int, networks: Networks, fleet: str = EIGHT) -> dict[str, Item]:
    known: Fleet = parse_fleet([fleet])
    counted = cost(run, classes, classes, networks.step_flop, networks.label_flop, known)
    found = items(run, counted, networks, passes(run, classes, classes, networks), classes, known)
    return {item.key: item for item in found}


def test_rded_is_a_million_and_a_half_looks() -> None:
    found = of(read("imagenet1k-rded"), 1_000, resnet18(IMAGENET1K))
    assert found["selection_looks"].value == 1_000 * 300 * 5 == 1_500_000
    assert found["selection_flop"].value == pytest.approx(1.5e6 * RESNET18)
    assert found["selection_hours"].value == pytest.approx(1.5e6 * RESNET18 / RATE / 3600)
    assert found["synthesis_hours"].value == 0 and found["checkpoint_bytes"].value == 0
    assert found["price"].value == pytest.approx(found["selection_hours"].value * 8 * 0.4)


def test_rded_without_a_count_is_the_most_that_it_can_be() -> None:
    found = of(read("imagenet1k-rded"), 1_000, resnet18(None))
    assert found["selection_looks"].value == 1_500_000 and "at most" in found["selection_looks"].note
    assert found["total_hours"].value is not None


def test_a_class_of_few_images_is_looked_at_whole() -> None:
    found = of(read("imagenet1k-rded"), 1_000, resnet18(100_000))
    assert found["selection_looks"].value == 1_000 * 100 * 5


def test_rded_labels_live_what_its_students_see() -> None:
    found = of(read("imagenet1k-rded"), 1_000, resnet18(IMAGENET1K))
    learners, seen = 3 * 2 * 3, 300 * 10_000  # networks x data x seeds; epochs x images
    assert found["live_labels"].value == learners * seen == 54_000_000
    assert found["live_label_flop"].value == pytest.approx(learners * seen * RESNET18)
    # Four students at once on four of the eight devices: half of the rate.
    assert found["live_label_hours"].value == pytest.approx(learners * seen * RESNET18 / (RATE / 2) / 3600)


def test_all_hours_are_in_the_total_and_its_price() -> None:
    found = of(read("imagenet1k-rded"), 1_000, resnet18(IMAGENET1K))
    parts = ("synthesis", "tail", "selection", "student", "live_label")
    assert found["total_hours"].value == pytest.approx(sum(found[f"{part}_hours"].value for part in parts))
    assert found["total_price"].value == pytest.approx(found["total_hours"].value * 8 * 0.4)


def test_delt_looks_at_every_image_of_imagenet21k_once() -> None:
    found = of(read("imagenet21k-delt"), 10_450, resnet18(IMAGENET21K))
    assert found["selection_looks"].value == IMAGENET21K
    assert found["selection_flop"].value == pytest.approx(IMAGENET21K * RESNET18)
    assert found["live_labels"].value == 6 * 300 * 104_500 == 188_100_000


def test_some_classes_have_their_share_of_the_images() -> None:
    run = read("imagenet21k-delt")
    some = passes(run, 1_045, 10_450, resnet18(IMAGENET21K)).selection
    assert some is not None and some.images == round(IMAGENET21K / 10)


def test_what_hangs_on_an_unknown_count_is_open_and_the_total_says_so() -> None:
    found = of(read("imagenet21k-delt"), 10_450, resnet18(None))
    for key in ("selection_looks", "selection_flop", "selection_hours", "price", "total_hours", "total_price"):
        assert found[key].value is None, key
    assert NOT_KNOWN in found["selection_looks"].note
    pace = 1e6 * RESNET18 / RATE / 3600
    assert found["selection_hours"].note.startswith(f"{pace:.3g} h for every million images")
    others = sum(item.value for item in found.values() if item.unit == "hours" and item.value is not None)
    assert found["total_hours"].note.startswith(f"NOT KNOWN: selection. All others together: {others:,.3g} h")
    assert "NOT KNOWN: selection" in found["total_price"].note
    json.dumps({key: item.value for key, item in found.items()}, allow_nan=False)


FORWARD = {
    "resnet18": 2 * 1.814e9, "mobilenet_v2": 2 * 0.301e9, "efficientnet_b0": 2 * 0.386e9,
    "shufflenet_v2_x0_5": 2 * 0.0404e9, "alexnet": 2 * 0.7142e9,
}  # fmt: skip
"""Torchvision's published multiply-adds, doubled."""


@pytest.fixture(scope="module")
def edc() -> tuple[RunConfig, Networks]:
    run = read("imagenet1k-edc")
    return run, networks_of(run, 1_000, IMAGENET1K)


def test_edc_collects_its_statistics_under_five_teachers(edc: tuple[RunConfig, Networks]) -> None:
    run, networks = edc
    found = of(run, 1_000, networks)
    assert found["statistics_looks"].value == 5 * IMAGENET1K == 6_405_835
    assert found["statistics_flop"].value == pytest.approx(IMAGENET1K * sum(FORWARD.values()), rel=0.01)
    assert found["selection_looks"].value == 1_500_000  # its mosaics are RDED's
    assert found["total_hours"].value > found["statistics_hours"].value > 0
    assert "live_labels" not in found
    twice = read("imagenet1k-edc", ["squeeze.statistics.passes=2"])
    assert of(twice, 1_000, networks)["statistics_looks"].value == 2 * 6_405_835


def test_a_label_of_an_ensemble_is_a_pass_of_each_of_its_teachers(edc: tuple[RunConfig, Networks]) -> None:
    labelling = sum(flop for name, flop in FORWARD.items() if name != "efficientnet_b0")
    assert edc[1].label_flop == pytest.approx(labelling, rel=0.01)
    run, networks = read("imagenet1k-edc", ["evaluate.data=[condensed,random,full]"]), edc[1]
    found = of(run, 1_000, networks)
    assert found["live_labels"].value == 9 * 300 * 10_000  # the full data alone
    assert found["live_label_flop"].value == pytest.approx(27e6 * labelling, rel=0.01)
    assert "real images have none stored" in found["live_labels"].note


def test_a_checkpoint_holds_what_a_block_remembers(edc: tuple[RunConfig, Networks]) -> None:
    run, networks = edc
    assert networks.averages == 203_096  # means and variances of the channels and tiles of all five
    pixels = 80 * 3 * 224 * 224
    found = of(run, 1_000, networks)
    assert found["checkpoint_bytes"].value == 4 * 4 * (4 * pixels + networks.averages)
    assert "flatness" in found["checkpoint_bytes"].note
    calm = dataclasses.replace(networks, averages=0)
    plain: Any = [{"use": "cross_entropy"}]
    sharp = read("imagenet1k-edc", [f"synthesize.objective={json.dumps(plain)}"])
    assert of(sharp, 1_000, calm)["checkpoint_bytes"].value == 4 * 4 * 3 * pixels


def test_generated_images_are_counted_without_being_told() -> None:
    changes = ["data.use=generated", "data.images=50", "data.train=null", "data.validation=null",
               "data.classes=20", "data.titles=null", "synthesize.ipc=2"]  # fmt: skip
    run = read("imagenet1k-delt", changes)
    networks = networks_of(run, 20)
    assert networks.train_images == 20 * 40  # a fifth is held out
    assert of(run, 20, networks)["selection_looks"].value == 800


def test_a_plain_method_has_neither_pass() -> None:
    found = of(read("imagenet1k-sre2l"), 1_000, resnet18(IMAGENET1K))
    assert not [key for key in found if key.startswith(("selection", "statistics_looks", "live"))]
