"""First pixels: a function of run, class and image index; never of block or worker."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import pytest
import torch

from raydc.condense.initialize import INITIALIZERS, SCORED, Gallery, Material, Place, least_images
from raydc.condense.space import Space
from raydc.config.axes.initialize import Confidence, Mosaic, Noise, Real
from raydc.keys import Key

KEY = Key((3,))
SPACE = Space((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
T = TypeVar("T")


class Greys:
    """Image i of class c is grey of level 10 c + i."""

    def __init__(self, counts: list[int]) -> None:
        self.counts = counts

    def count(self, label: int) -> int:
        return self.counts[label]

    def image(self, label: int, index: int) -> torch.Tensor:
        assert 0 <= index < self.counts[label]
        return torch.full((3, 4, 4), 10 * label + index, dtype=torch.uint8)

    def images(self, label: int, indices: Sequence[int]) -> torch.Tensor:
        return torch.stack([self.image(label, i) for i in indices])

    def originals(self, label: int, indices: Sequence[int]) -> list[torch.Tensor]:
        return [self.image(label, i) for i in indices]

    def ahead(self, jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
        return iter([job() for job in jobs])


class Patterns(Greys):
    """Image i of class c has a pattern of its own, of 8 x 8 pixels."""

    def image(self, label: int, index: int) -> torch.Tensor:
        return torch.arange(192).mul(7 * index + label + 1).remainder(251).to(torch.uint8).view(3, 8, 8)


def noise(key: Key, label: int, index: int, size: int, space: Space, gallery: Gallery | None = None) -> torch.Tensor:
    return INITIALIZERS["noise"].image(Noise(use="noise"), Place(key, label, index, 10, size, space), Material(gallery))


def real(key: Key, label: int, index: int, size: int, space: Space, gallery: Gallery | None) -> torch.Tensor:
    return INITIALIZERS["real"].image(Real(use="real"), Place(key, label, index, 10, size, space), Material(gallery))


def sha(images: list[torch.Tensor]) -> str:
    return hashlib.sha256(torch.stack(images).numpy().tobytes()).hexdigest()[:16]


def test_the_bytes_of_a_first_pixel_never_change() -> None:
    """A data set that was made by an earlier version is made again by this one."""
    gallery = Patterns([9] * 8)
    assert sha([noise(KEY, 7, i, 8, SPACE) for i in range(4)]) == "db3794b5704a985c"
    assert sha([real(KEY, 7, i, 8, SPACE, gallery) for i in range(4)]) == "eebcaa62524f44f8"


def test_noise_is_standard_normal_in_the_space_whatever_the_space() -> None:
    x = noise(KEY, 7, 2, 64, SPACE)
    assert x.shape == (3, 64, 64) and x.dtype == torch.float32
    assert abs(x.mean().item()) < 0.03 and x.std().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(x, noise(KEY, 7, 2, 64, Space((0.0,) * 3, (1.0,) * 3)))


def test_noise_depends_on_run_class_and_index_alone() -> None:
    x = noise(KEY, 7, 2, 8, SPACE)
    assert torch.equal(noise(KEY, 7, 2, 8, SPACE, Greys([1])), x)
    other_keys = [(KEY, 7, 3), (KEY, 8, 2), (Key((4,)), 7, 2)]
    others = [noise(key, label, index, 8, SPACE) for key, label, index in other_keys]
    assert all(not torch.equal(x, other) for other in others)
    assert not torch.equal(noise(KEY, 2, 7, 8, SPACE), x)


def levels(label: int, count: int, gallery: Gallery, key: Key = KEY) -> list[int]:
    return [int(SPACE.to_uint8(real(key, label, i, 4, SPACE, gallery))[0, 0, 0]) for i in range(count)]


def test_real_images_are_drawn_without_replacement() -> None:
    gallery = Greys([3, 8])
    drawn = levels(1, 8, gallery)
    assert sorted(drawn) == list(range(10, 18))
    assert drawn[:3] == levels(1, 3, gallery)  # more images a class keep the first ones
    assert drawn != levels(1, 8, gallery, Key((4,)))
    assert drawn != sorted(drawn)


def test_real_images_are_normalised() -> None:
    x = real(KEY, 2, 0, 4, SPACE, Greys([0, 0, 1]))
    assert x.dtype == torch.float32
    expected = [(20 / 255 - m) / s for m, s in zip((0.5, 0.4, 0.3), (0.2, 0.25, 0.5), strict=True)]
    assert x[:, 0, 0].tolist() == pytest.approx(expected, rel=1e-6)


def test_real_needs_enough_real_images() -> None:
    with pytest.raises(ValueError, match="needs 4 images of class 0, which has 3"):
        real(KEY, 0, 3, 4, SPACE, Greys([3]))
    with pytest.raises(ValueError, match="needs real images, but the run has none"):
        real(KEY, 0, 0, 4, SPACE, None)


def test_how_many_images_a_class_must_have() -> None:
    assert least_images(Noise(use="noise"), 10) == 0
    assert least_images(Real(use="real"), 10) == 10
    assert least_images(Mosaic(use="mosaic"), 10) == 40
    assert least_images(Mosaic(use="mosaic", factor=1), 10) == 10
    assert least_images(Confidence(use="confidence"), 10) == 10


def test_only_what_a_teacher_scores_needs_a_selection_pass() -> None:
    assert set(SCORED) == {"mosaic", "confidence"} and set(INITIALIZERS) > set(SCORED)
    assert all(hasattr(component, "choose") == (use in SCORED) for use, component in INITIALIZERS.items())
