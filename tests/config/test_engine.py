"""What a worker may ask of its node: what Ray would refuse hours later, in a traceback, is refused here."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from raydc.config.stages.engine import EngineConfig


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"resources": {"GPU": 1}}, "resources holds GPU; set gpus_per_worker instead"),
        ({"resources": {"seat": 0}}, "greater than 0"),
        ({"gpus_per_worker": 1.5}, "expected a part of one GPU or whole GPUs"),
        ({"cpus_per_worker": 0}, "a worker asks for no CPU, no GPU and no resource"),
        ({"labels": {"market": "spot or not"}}, "should match pattern"),
        ({"labels": {"market": "in(spot,"}}, "should match pattern"),
    ],
)
def test_what_no_node_can_give_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        EngineConfig(**asked)


@pytest.mark.parametrize("rule", ["spot", "!spot", "in(spot, on-demand)", "!in(a,b)"])
def test_labels_are_chosen_as_ray_does(rule: str) -> None:
    assert EngineConfig(labels={"market": rule}).labels == {"market": rule}


def test_shares_of_what_there_is() -> None:
    assert EngineConfig(gpus_per_worker=0.5).gpus_per_worker == 0.5
    assert EngineConfig(gpus_per_worker=2, cpus_per_worker=0).gpus_per_worker == 2
    assert EngineConfig(cpus_per_worker=0, resources={"seat": 1}).resources == {"seat": 1}
