"""A step on a device that answers no question: what asks for a number, or mixes its tensors with the host's, fails.

Tensors of the device ``meta`` have no values. Reading one stalls a GPU at every step, and cannot be recorded.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from raydc.condense.group import Group
from raydc.condense.guide import Guide
from raydc.condense.space import Space
from raydc.condense.synthesize import Synthesis
from raydc.config.axes.execution import EXECUTIONS
from raydc.config.load import load
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.keys import Key
from tests.condense.nets import TinyMobile, TinyResNet, frozen, invented, pixels

CONFIGS = Path(__file__).parents[2] / "configs"
METHODS = ["sre2l", "cda", "lpld", "gvbsm", "edc", "delt", "fadrm", "fadrm-plus"]
SIDE = 16


def shrunk(method: str) -> SynthesizeConfig:
    """The method's axes, on pictures of 16 pixels and for eight steps."""
    tree = load(CONFIGS / f"imagenet1k-{method}.yaml").synthesize.model_dump(mode="json", by_alias=True)
    tree |= {"ipc": 4, "steps": 8, "initialize": {"use": "noise"}, "log_every": 2}
    tree["rounds"] = min(2, tree["rounds"])
    if tree["stages"]:
        tree["stages"]["sizes"] = [8, SIDE]
    for term in tree["objective"]:
        if term["use"] == "conv_statistics":
            term["tile"] = 4
    return SynthesizeConfig.model_validate(tree)


@pytest.mark.parametrize("execution", ["eager", "eager-fp16", "graph"])
@pytest.mark.parametrize("method", METHODS)
def test_no_step_of_a_method_asks_the_device_for_a_number(
    method: str, execution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raydc.condense.observer.compiled", lambda function: function)
    monkeypatch.setattr("raydc.condense.adam.adam", lambda *_, **__: None)  # torch's own, which differs by device
    config = shrunk(method)
    if execution == "graph" and any(term.use == "densification" for term in config.objective):
        pytest.skip("it cannot be recorded, and is refused")
    guides = []
    for n, kind in enumerate((TinyResNet, TinyMobile)):
        network = frozen(kind(), f"net {n}")
        known = invented(network, SIDE, 4, 5)
        guides.append(Guide(network.to("meta"), lambda z: z, Space((0.5,) * 3, (0.2 + n,) * 3, "meta"), known,
                            EXECUTIONS[execution]))  # fmt: skip
    guides = guides[:1] if config.teachers.sampling == "single" else guides
    groups = [Group([0, 0, 1, 1], [0, 3, 0, 3], Key((0, name))) for name in ("one", "other")]
    made = Synthesis(config, guides, pixels(8, SIDE).to("meta"), groups)
    while made.done < config.steps:
        made.step()
    assert made.x.shape == (8, 3, SIDE, SIDE)
    assert all(values for values in made.groups[0].history.terms.values())
