"""Statistics as the terms read them: of all data, and of the mixture of classes that a batch is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raydc.condense.statistics import Segment, Statistics

CPU = torch.device("cpu")
SEGMENTS = [Segment("stem", 2, 3), Segment("norm", 1, 0)]


def values() -> np.ndarray:
    """Four classes, of each 50 images of 7 values of 6 numbers."""
    generator = np.random.default_rng(0)
    return generator.normal(generator.normal(0, 2, (4, 50, 1, 6)), 1.5, (4, 50, 7, 6))


def made(rows: int = 3) -> Statistics:
    found = values()
    per_class = np.stack([found.mean((1, 2)), found.var((1, 2)), found.var(2).mean(1)], 1)[:, :rows]
    flat = found.reshape(-1, 6)
    whole = np.stack([flat.mean(0), flat.var(0), found.var(2).mean((0, 1))])[:rows]
    return Statistics(SEGMENTS, 4, torch.from_numpy(whole), torch.from_numpy(per_class))


def test_of_all_is_cut_into_layers_channels_before_tiles() -> None:
    whole = torch.arange(12.0).view(2, 6)
    found = Statistics(SEGMENTS, 4, whole).of_all(CPU)
    assert list(found) == ["stem", "norm"]
    stem, norm = found["stem"], found["norm"]
    assert stem.mean.tolist() == [0, 1] and stem.tile_mean is not None and stem.tile_mean.tolist() == [2, 3, 4]
    assert stem.var.tolist() == [6, 7] and stem.tile_var is not None and stem.tile_var.tolist() == [8, 9, 10]
    assert norm.mean.tolist() == [5] and norm.var.tolist() == [11] and norm.mean.dtype == torch.float32


@pytest.mark.parametrize("labels", [[2], [0, 3], [1, 1, 1, 2], [0, 1, 2, 3, 3, 0]])
def test_a_mixture_has_the_moments_of_the_values_it_is_mixed_of(labels: list[int]) -> None:
    mixed = values()[labels].reshape(-1, 6)
    found = made().of_classes(labels, "total", CPU)
    means = torch.cat([found["stem"].mean, found["stem"].tile_mean, found["norm"].mean])
    variances = torch.cat([found["stem"].var, found["stem"].tile_var, found["norm"].var])
    assert np.allclose(means, mixed.mean(0), rtol=1e-5, atol=1e-6)
    assert np.allclose(variances, mixed.var(0), rtol=1e-5)


def test_the_published_variance_leaves_out_how_images_and_classes_differ() -> None:
    labels = [0, 1, 1, 3]
    found = made().of_classes(labels, "within_image", CPU)
    assert np.allclose(found["norm"].var, values()[labels].var(2).mean((0, 1))[5], rtol=1e-5)
    assert float(found["norm"].var) < float(made().of_classes(labels, "total", CPU)["norm"].var)


def test_the_order_of_labels_does_not_matter_to_the_bit() -> None:
    one, other = (made().of_classes(labels, "total", CPU) for labels in ([3, 0, 0, 1], [0, 1, 0, 3]))
    assert all(torch.equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True))


def test_half_precision_on_disk_is_near() -> None:
    exact, found = made(), made()
    assert found.classes is not None
    found.classes = found.classes.half()
    for labels in ([0], [0, 1, 2]):
        one, other = (s.of_classes(labels, "total", CPU)["stem"] for s in (exact, found))
        assert torch.allclose(one.mean, other.mean, rtol=2e-3, atol=2e-3) and other.mean.dtype == torch.float32
        assert torch.allclose(one.var, other.var, rtol=2e-3)


def test_what_was_not_collected_is_refused() -> None:
    with pytest.raises(ValueError, match="not collected by class"):
        Statistics(SEGMENTS, 4, torch.zeros(2, 6)).of_classes([0], "total", CPU)
    with pytest.raises(ValueError, match="no variances within single images"):
        made(rows=2).of_classes([0], "within_image", CPU)
