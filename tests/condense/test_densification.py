"""Densification: spectra by NumPy, values of the specification, and the gradient by its formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from raydc.condense.discrepancy.densification import DensificationTerm
from raydc.config.axes.discrepancy import Densification
from tests.condense.nets import judged, order, pixels

EYE = nn.Flatten()  # a teacher that this term does not ask


def made(**settings: Any) -> DensificationTerm:
    return DensificationTerm(Densification.model_validate({"use": "densification", **settings}))


def softmax(e: np.ndarray) -> np.ndarray:
    p = np.exp(e - e.max())
    return p / p.sum()


def by_numpy(x: np.ndarray, classes: list[int], temperature: float, scale: str = "raw") -> float:
    """From singular values rather than eigenvalues, class by class."""
    total = 0.0
    for c in sorted(set(classes)):
        rows = x[[n for n, own in enumerate(classes) if own == c]].reshape(classes.count(c), -1)
        e = np.linalg.svd(rows, compute_uv=False) ** 2
        if scale == "mean":
            e = e / e.mean()
        p, q = softmax(e / temperature), softmax(e)
        total += float((p * (np.log(p) - np.log(q))).sum())
    return total


@pytest.mark.parametrize("classes", [[0] * 6, [0, 0, 1, 1, 1, 0], [3, 1, 3, 1, 1, 1], [0, 0, 0, 0, 7, 2]])
@pytest.mark.parametrize("scale", ["raw", "mean"])
def test_against_numpy(classes: list[int], scale: str) -> None:
    x = 0.3 * pixels(6, 8).double()
    expected = by_numpy(x.numpy(), classes, 4.0, scale)
    got = judged(made(size=8, scale=scale), EYE, x, classes)
    assert expected > 1e-3 and got.item() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("gap", "published"), [(5, 1.49), (20, 0.80), (50, 1.2e-3), (100, 9e-9)])
def test_ten_images_with_one_leading_eigenvalue(gap: float, published: float) -> None:
    """Specification, 1.2. Images of one pixel each, in different places: the eigenvalues are the pixels squared."""
    x = torch.zeros(10, 3, 32, 32)
    for n in range(10):
        x[n, n % 3, n, 2 * n] = (1.0 + gap * (n == 4)) ** 0.5
    assert judged(made(), EYE, x).item() == pytest.approx(published, rel=0.05)


def test_views_are_pooled() -> None:
    x = 0.3 * pixels(4, 8).double()
    pooled = x.numpy().reshape(4, 3, 4, 2, 4, 2).mean(axis=(3, 5))
    assert judged(made(size=4), EYE, x).item() == pytest.approx(by_numpy(pooled, [0] * 4, 4.0), rel=1e-8)


def test_it_looks_at_the_augmented_images() -> None:
    x = 0.3 * pixels(4, 8).double()
    seen = judged(made(size=8), EYE, x, seen=lambda v: 2 * v)
    assert seen.item() == pytest.approx(by_numpy(2 * x.numpy(), [0] * 4, 4.0), rel=1e-8)


def test_one_image_a_class_has_nothing_to_be_pushed_from() -> None:
    x = pixels(3, 8).requires_grad_(True)
    value = judged(made(size=8), EYE, x, [0, 1, 2])
    value.backward()
    assert value.item() == 0.0 and torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("classes", [[0] * 5, [0, 1, 0, 1, 1]])
def test_gradient_against_the_formula(classes: list[int]) -> None:
    """dL/de = softmax(e) - softmax(e / t), the left side being fixed; dL/dX = 2 V diag(dL/de) V^T X."""
    x = (0.3 * pixels(5, 6).double()).requires_grad_(True)
    judged(made(size=6), EYE, x, classes).backward()
    expected = np.zeros((5, 108))
    for c in sorted(set(classes)):
        own = [n for n, k in enumerate(classes) if k == c]
        rows = x.detach().numpy()[own].reshape(len(own), -1)
        e, v = np.linalg.eigh(rows @ rows.T)
        expected[own] = 2 * v @ np.diag(softmax(e) - softmax(e / 4.0)) @ v.T @ rows
    np.testing.assert_allclose(x.grad.numpy().reshape(5, -1), expected, rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("scale", ["raw", "mean"])
def test_gradient_against_finite_differences(scale: str) -> None:
    """Of the right side alone: the left side, softmax(e / t), is held where the step found it."""
    x = (0.3 * pixels(3, 3).double()).requires_grad_(True)
    judged(made(size=3, scale=scale), EYE, x).backward()
    spectra = lambda v: np.linalg.svd(v.reshape(3, -1), compute_uv=False) ** 2  # noqa: E731
    scaled = lambda v: spectra(v) / spectra(v).mean() if scale == "mean" else spectra(v)  # noqa: E731
    start = x.detach().numpy()
    fixed = softmax(scaled(start) / 4.0)
    numeric = np.zeros(start.size)
    for n in range(start.size):
        ends = []
        for sign in (1, -1):
            moved = start.copy().reshape(-1)
            moved[n] += sign * 1e-6
            ends.append(-(fixed * np.log(softmax(scaled(moved)))).sum())
        numeric[n] = (ends[0] - ends[1]) / 2e-6
    np.testing.assert_allclose(x.grad.numpy().reshape(-1), numeric, rtol=1e-5, atol=1e-9)


def test_copies_have_a_gradient_that_is_finite() -> None:
    """Equal eigenvalues, all but one 0: the worst case for a decomposition."""
    for x in (torch.zeros(4, 3, 8, 8), 0.1 * pixels(1, 8).repeat(4, 1, 1, 1)):
        for scale in ("raw", "mean"):
            copies = x.clone().requires_grad_(True)
            value = judged(made(size=8, scale=scale), EYE, copies)
            value.backward()
            assert value.isfinite() and copies.grad.isfinite().all()


def test_a_step_against_the_gradient_makes_copies_differ() -> None:
    x = (0.05 * pixels(1, 8) + 0.02 * pixels(5, 8, "own")).requires_grad_(True)
    term = made(size=8)
    judged(term, EYE, x).backward()
    likeness = [F.normalize(v.flatten(1)) for v in (x.detach(), x.detach() - 2.0 * x.grad)]
    before, after = ((v @ v.T).mean().item() for v in likeness)
    assert after < before


def test_the_order_of_images_does_not_matter() -> None:
    x, classes, p = 0.3 * pixels(6, 8).double(), [0, 1, 0, 1, 1, 0], order(6)
    other = judged(made(size=8), EYE, x[p], [classes[n] for n in p])
    assert other.item() == pytest.approx(judged(made(size=8), EYE, x, classes).item(), rel=1e-9)


def test_half_precision_is_widened_before_eigenvalues() -> None:
    x = (0.3 * pixels(6, 16)).to(torch.bfloat16)
    half, same = judged(made(size=16), EYE, x), judged(made(size=16), EYE, x.float())
    assert half.dtype == torch.float32 and half.item() == same.item()
    assert judged(made(size=16), EYE, x.double()).item() == pytest.approx(same.item(), rel=1e-4)


def test_the_same_batch_gives_the_same_bits() -> None:
    x = pixels(6, 8)
    assert judged(made(), EYE, x).item() == judged(made(), EYE, x).item()
