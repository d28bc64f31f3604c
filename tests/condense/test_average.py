"""The running average: its value, the step's gradient, and its memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raydc.condense.discrepancy.average import RunningAverage
from raydc.condense.segments import Segments
from raydc.config.axes.discrepancy import Average
from raydc.keys import Key

LAYERS, ALL = Segments([3, 1], torch.device("cpu")), torch.ones(2)
STEPS = [torch.from_numpy(Key(("s", t)).normal(4)).double() for t in range(5)]


def weighted_past(t: int, decay: float) -> np.ndarray:
    """The average after step t as a sum over the past, not as a recursion."""
    return sum((1 - decay) * decay ** (t - s) * STEPS[s].numpy() for s in range(t + 1))


@pytest.mark.parametrize("decay", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("correct", [True, False])
def test_the_value_is_the_averages(decay: float, correct: bool) -> None:
    average = RunningAverage(Average(decay=decay, bias_correct=correct))
    for t, step in enumerate(STEPS):
        expected = weighted_past(t, decay) / (1 - decay ** (t + 1) if correct else 1.0)
        np.testing.assert_allclose(average("a", step, LAYERS, ALL), expected, rtol=1e-12, atol=1e-15)


def test_corrected_the_first_value_is_the_first_step_and_a_constant_stays() -> None:
    average = RunningAverage(Average(decay=0.9))
    for _ in range(5):
        np.testing.assert_allclose(average("a", STEPS[0], LAYERS, ALL), STEPS[0], rtol=1e-12)
    published = RunningAverage(Average(decay=0.8, bias_correct=False))
    np.testing.assert_allclose(published("a", STEPS[0], LAYERS, ALL), 0.2 * STEPS[0].numpy(), rtol=1e-12)


@pytest.mark.parametrize("correct", [True, False])
def test_the_gradient_is_the_steps_in_the_direction_of_the_average(correct: bool) -> None:
    """d/ds ||goal - s_hat|| = -(goal - average) / ||goal - average||, with factor 1 whatever the decay."""
    average, goal = RunningAverage(Average(decay=0.8, bias_correct=correct)), torch.ones(4).double()
    for t, step in enumerate(STEPS):
        now = step.clone().requires_grad_(True)
        torch.linalg.vector_norm(average("a", now, LAYERS, ALL) - goal).backward()
        away = weighted_past(t, 0.8) / (1 - 0.8 ** (t + 1) if correct else 1.0) - 1.0
        np.testing.assert_allclose(now.grad, away / np.linalg.norm(away), rtol=1e-10)


def test_names_are_averaged_apart_and_count_their_own_visits() -> None:
    average, alone = RunningAverage(Average(decay=0.5)), RunningAverage(Average(decay=0.5))
    average("a", STEPS[0], LAYERS, ALL)
    average("b", STEPS[1], LAYERS, ALL)
    average("a", STEPS[2], LAYERS, ALL)
    alone("b", STEPS[1], LAYERS, ALL)
    assert torch.equal(average("b", STEPS[3], LAYERS, ALL), alone("b", STEPS[3], LAYERS, ALL))


def test_the_past_is_no_part_of_the_graph() -> None:
    average = RunningAverage(Average(decay=0.5))
    first = STEPS[0].clone().requires_grad_(True)
    average("a", first, LAYERS, ALL)
    average("a", STEPS[1].clone().requires_grad_(True), LAYERS, ALL).sum().backward()
    assert first.grad is None


def test_going_on_from_a_state_is_bit_for_bit() -> None:
    whole, first = (RunningAverage(Average(decay=0.7)) for _ in range(2))
    for t in range(3):
        whole("a", STEPS[t], LAYERS, ALL)
        first("a", STEPS[t], LAYERS, ALL)
    state, again = first.state(), RunningAverage(Average(decay=0.7))
    first("a", STEPS[4], LAYERS, ALL)  # a state is a copy
    again.restore(state, torch.device("cpu"))
    assert torch.equal(again("a", STEPS[3], LAYERS, ALL), whole("a", STEPS[3], LAYERS, ALL))
    assert all(isinstance(v, torch.Tensor) for v in state.values())


def test_a_layer_that_is_not_there_keeps_what_it_has_and_counts_no_visit() -> None:
    average, alone = (RunningAverage(Average(decay=0.5)) for _ in range(2))
    average("a", STEPS[0], LAYERS, torch.tensor([1.0, 0.0]))
    average("a", STEPS[1], LAYERS, torch.tensor([0.0, 1.0]))
    alone("a", STEPS[0], LAYERS, torch.tensor([1.0, 0.0]))
    both, first = average("a", STEPS[2], LAYERS, ALL), alone("a", STEPS[2], LAYERS, ALL)
    assert torch.equal(both[:3], first[:3])
    np.testing.assert_allclose(both[3], (STEPS[1][3] + 2 * STEPS[2][3]) / 3, rtol=1e-12)
    np.testing.assert_allclose(first[3], STEPS[2][3], rtol=1e-12)
