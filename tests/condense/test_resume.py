"""A block that was stopped goes on bit for bit, whatever its terms remember."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.condense.test_synthesize import TERMS, config, go_on, synthesis

EVERY_TERM = [
    {"use": "cross_entropy"},
    {"use": "bn_statistics", "average": {"decay": 0.8}},
    {
        "use": "conv_statistics",
        "tile": 4,
        "drop": 0.4,
        "category": 0.5,
        "average": {"decay": 0.6, "bias_correct": False},
    },
    {"use": "densification", "size": 8},
    {"use": "flatness", "decay": 0.5},
    {"use": "total_variation", "weight": 0.01},
    {"use": "pixel_norm", "weight": 0.01},
]


@pytest.mark.parametrize("objective", [TERMS, EVERY_TERM], ids=["sre2l", "every_term"])
@pytest.mark.parametrize("stop", [0, 1, 4, 6])
def test_going_on_from_a_state_is_as_if_nothing_had_happened(stop: int, objective: list[Any]) -> None:
    settings = config(log_every=2, objective=objective)
    whole = synthesis(settings)
    whole.run(go_on)

    first = synthesis(settings)
    first.run(lambda s: s.done < stop)
    state = first.state()
    first.run(go_on)  # a state is a copy: what happens after it was taken does not reach it

    again = synthesis(settings, torch.zeros(4, 3, 16, 16))
    again.restore({name: tensor.clone() for name, tensor in state.items()})
    assert again.done == stop
    again.run(go_on)
    assert torch.equal(again.x, whole.x)
    assert again.groups[0].history.plain() == whole.groups[0].history.plain()
    for name, tensor in whole.state().items():
        assert torch.equal(again.state()[name], tensor), name


def test_what_terms_remember_matters() -> None:
    """Without it a block would go on otherwise: the bit-for-bit test above is no accident."""
    for term in (EVERY_TERM[1], EVERY_TERM[4]):
        settings = config(objective=[EVERY_TERM[0], term], optimizer={"lr": 0.1, "eps": 1e-3})
        whole, again = synthesis(settings), synthesis(settings)
        whole.run(lambda s: s.done < 3)
        state = {name: tensor for name, tensor in whole.state().items() if ".term." not in name}
        again.restore(state)
        for made in (whole, again):
            made.run(go_on)
        assert not torch.equal(again.x, whole.x)
