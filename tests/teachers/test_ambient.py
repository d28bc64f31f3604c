"""Torch's global generator is used by name and left as it was."""

from __future__ import annotations

import torch

from raydc.keys import Key
from raydc.teachers.ambient import seeded


def test_draws_are_a_function_of_the_key() -> None:
    with seeded(Key((1, "a"))):
        one = torch.randn(4)
    torch.randn(100)
    with seeded(Key((1, "a"))):
        again = torch.randn(4)
    with seeded(Key((1, "b"))):
        other = torch.randn(4)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_nothing_outside_sees_the_seed() -> None:
    before = torch.get_rng_state()
    with seeded(Key((1, "a"))):
        torch.randn(4)
    assert torch.equal(torch.get_rng_state(), before)
