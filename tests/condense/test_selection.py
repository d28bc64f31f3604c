"""What is taken of the real images of a class where a teacher chooses: mosaics of crops, and whole images by rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms.functional import resized_crop

from raydc.condense.guide import Guide
from raydc.condense.initialize import SCORED, Material, Pick, Place
from raydc.condense.initialize.score import BATCH, log_probabilities
from raydc.condense.space import Space
from raydc.config.axes.initialize import Confidence, Mosaic
from raydc.keys import Key
from raydc.labels.views import resized_crop_boxes
from raydc.plan.blocks import GROUPS

KEY = Key((3,))
SPACE = Space((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
PIXELS = Space((0.0,) * 3, (1.0,) * 3)
T = TypeVar("T")
mosaic, confidence = SCORED["mosaic"], SCORED["confidence"]


class Photos:
    """Real images of many shapes; ``side`` is what the resize rule brings them to."""

    def __init__(self, count: int, side: int = 12, paint: Callable[[int, int], torch.Tensor] | None = None) -> None:
        self.number, self.side, self.paint = count, side, paint or self._noisy

    def _noisy(self, label: int, index: int) -> torch.Tensor:
        key = Key((label, index))
        height, width = (12 + key.child("shape").integers(0, 15, 2)).tolist()
        return torch.from_numpy(key.integers(0, 256, 3, height, width).astype(np.uint8))

    def count(self, label: int) -> int:
        return self.number

    def image(self, label: int, index: int) -> torch.Tensor:
        return self.paint(label, index)[:, : self.side, : self.side]

    def images(self, label: int, indices: Sequence[int]) -> torch.Tensor:
        return torch.stack([self.image(label, i) for i in indices])

    def originals(self, label: int, indices: Sequence[int]) -> list[torch.Tensor]:
        return [self.paint(label, i) for i in indices]

    def ahead(self, jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
        return iter([job() for job in jobs])


def greys(levels: Sequence[int], side: int = 12) -> Photos:
    """Image i is grey of a level, the same in every class."""
    return Photos(len(levels), side, lambda label, i: torch.full((3, side, side), levels[i], dtype=torch.uint8))


class Linear(nn.Module):
    """Logits are sums of pixels with keyed weights."""

    def __init__(self, size: int, classes: int = 4) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(Key(("teacher",)).normal(classes, 3 * size * size)) / size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight.T


class Brightness(nn.Module):
    """Class 1 is what is bright, class 0 what is dark; remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.shown.append(x.clone())
        mean = x.mean(dim=(1, 2, 3))
        return torch.stack([-mean, mean], dim=1)


def guide(network: nn.Module, space: Space = SPACE) -> Guide:
    return Guide(network.eval(), lambda outputs: outputs.float(), space)


def cut(**changes: int | float) -> Mosaic:
    return Mosaic.model_validate({"use": "mosaic", "candidates": 20, "crops": 3, **changes})


def ranked(order: str = "median") -> Confidence:
    return Confidence.model_validate({"use": "confidence", "order": order})


def whole(index: int, side: int) -> Pick:
    return Pick(index, 0, 0, side, side, 0.0)


def picture(config: Mosaic, index: int, ipc: int, size: int, gallery: Photos, picks: list[Pick]) -> torch.Tensor:
    return mosaic.image(config, Place(KEY, 1, index, ipc, size, PIXELS), Material(gallery, picks))


def levels(image: torch.Tensor) -> list[list[int]]:
    """The grey levels of a picture in the pixel space."""
    assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
    return (image[0] * 255).round().int().tolist()


@pytest.mark.parametrize(("size", "factor"), [(12, 2), (11, 3), (9, 1)])
def test_crops_are_scored_as_the_specification_says(size: int, factor: int) -> None:
    """Crops of torchvision, zeros around them, and a cross-entropy in NumPy."""
    ipc, config, photos, network = 2, cut(factor=factor), Photos(25), Linear(size)
    found = mosaic.choose(config, KEY, 2, ipc, size, photos, guide(network))
    side, weight = size // factor, network.weight.detach().double().numpy()
    mean, std = (np.array(v)[:, None, None] for v in ((0.5, 0.4, 0.3), (0.2, 0.25, 0.5)))
    best = []
    for index in KEY.child("mosaic", 2, "candidates").permutation(25)[:20].tolist():
        photo = photos.paint(2, index)
        height, width = photo.shape[1:]
        boxes = resized_crop_boxes(KEY.child("mosaic", 2, "crops", index), 3, height, width, 0.08, 1.0, (1.0, 1.0))
        tried = []
        for top, left, tall, wide in boxes.tolist():
            assert tall == wide
            crop = resized_crop(photo.float() / 255, top, left, tall, wide, [side, side], antialias=True).numpy()
            shown, begin = np.zeros((3, size, size)), (size - side) // 2
            shown[:, begin : begin + side, begin : begin + side] = (crop - mean) / std
            logits = weight @ shown.ravel()
            tried.append((np.logaddexp.reduce(logits) - logits[2], index, (top, left, tall, wide)))
        best.append(min(tried))
    expected = sorted(best)[: ipc * factor**2]
    assert [(p.image, (p.top, p.left, p.height, p.width)) for p in found] == [(i, box) for _, i, box in expected]
    assert [p.score for p in found] == pytest.approx([score for score, _, _ in expected], rel=1e-4, abs=1e-5)
    assert len({p.image for p in found}) == len(found), "one crop an image"


def test_the_teacher_is_shown_a_crop_amid_the_mean_colour() -> None:
    network = Brightness()
    mosaic.choose(cut(factor=3, crops=1), KEY, 1, 1, 7, greys([255] * 20), guide(network))
    shown = torch.cat(network.shown)
    assert shown.shape == (20, 3, 7, 7)
    inside = torch.zeros(7, 7, dtype=torch.bool)
    inside[2:4, 2:4] = True  # 7 // 3 = 2 of 7 pixels: 2 zeros above and left, 3 below and right
    assert (shown[:, :, ~inside] == 0).all()
    assert torch.allclose(shown[:, :, inside], SPACE.normalize(torch.ones(3, 2, 2)).flatten(1), atol=1e-6)


def test_the_surest_come_first() -> None:
    photos = greys([10, 200, 90, 250, 30, 120])
    config = cut(factor=1, crops=1)
    assert [p.image for p in mosaic.choose(config, KEY, 1, 4, 12, photos, guide(Brightness()))] == [3, 1, 5, 2]
    assert [p.image for p in mosaic.choose(config, KEY, 0, 4, 12, photos, guide(Brightness()))] == [0, 4, 2, 5]


def test_the_ranks_are_dealt_out_to_the_pictures_cell_by_cell() -> None:
    """Rank r: picture r mod IPC, cell r div IPC. Twelve ranks, three pictures of four cells."""
    photos, picks = greys([10 * rank for rank in range(12)], 4), [whole(rank, 4) for rank in range(12)]
    corners = [[levels(picture(cut(), i, 3, 4, photos, picks))[y][x] for y in (0, 3) for x in (0, 3)] for i in range(3)]
    assert corners == [[0, 30, 60, 90], [10, 40, 70, 100], [20, 50, 80, 110]]
    assert levels(picture(cut(), 0, 3, 4, photos, picks)) == [[0, 0, 30, 30]] * 2 + [[60, 60, 90, 90]] * 2


def test_cells_that_do_not_fill_the_side_grow_by_a_pixel_from_the_first_on() -> None:
    photos, picks = greys([10 * rank for rank in range(9)], 4), [whole(rank, 4) for rank in range(9)]
    rows = [[0, 0, 0, 10, 10, 10, 20, 20], [30, 30, 30, 40, 40, 40, 50, 50], [60, 60, 60, 70, 70, 70, 80, 80]]
    assert levels(picture(cut(factor=3), 0, 1, 8, photos, picks)) == [rows[0]] * 3 + [rows[1]] * 3 + [rows[2]] * 2


def test_a_crop_is_shrunk_with_antialiasing_and_enlarged_to_a_larger_cell_by_repetition() -> None:
    photos = Photos(4)
    picks = [Pick(i, 1, 2, 8, 8, 0.0) for i in range(4)]
    made = picture(cut(), 0, 1, 7, photos, picks)
    first = resized_crop(photos.paint(1, 0).float() / 255, 1, 2, 8, 8, [3, 3], antialias=True)
    assert torch.allclose(made[:, :4, :4], first[:, [0, 0, 1, 2]][:, :, [0, 0, 1, 2]], atol=1e-6)
    last = resized_crop(photos.paint(1, 3).float() / 255, 1, 2, 8, 8, [3, 3], antialias=True)
    assert torch.allclose(made[:, 4:, 4:], last, atol=1e-6)


def test_a_grid_of_one_cell_is_the_crop() -> None:
    photos, box = Photos(1), (3, 1, 6, 6)
    made = mosaic.image(cut(factor=1), Place(KEY, 1, 0, 1, 12, SPACE), Material(photos, [Pick(0, *box, score=0.0)]))
    expected = resized_crop(photos.paint(1, 0).float() / 255, *box, [12, 12], antialias=True)
    assert made.dtype == torch.float32 and torch.allclose(made, SPACE.normalize(expected), atol=1e-5)


def test_picks_depend_on_run_and_class_alone() -> None:
    photos, teacher = Photos(25), guide(Linear(12))

    def chosen(label: int, key: Key = KEY, ipc: int = 2, config: Mosaic = cut()) -> list[Pick]:
        return mosaic.choose(config, key, label, ipc, 12, photos, teacher)

    forth = [chosen(label) for label in range(3)]
    assert [chosen(label) for label in (2, 1, 0)] == forth[::-1]
    assert chosen(1, Key((4,))) != forth[1]
    assert chosen(1, ipc=4)[:8] == forth[1], "more images a class rank the same crops"
    more = {p.image: p.score for p in chosen(1, ipc=5, config=cut(crops=4))}
    assert all(more[p.image] <= p.score for p in chosen(1, ipc=5)), "one crop more can only be surer"


@pytest.mark.parametrize("use", ["mosaic", "confidence"])
def test_pictures_do_not_depend_on_how_they_are_put_into_blocks(use: str) -> None:
    photos, teacher, ipc = Photos(25), guide(Linear(10)), 3
    component, config = SCORED[use], cut() if use == "mosaic" else ranked()
    made: dict[tuple[int, int], dict[str, torch.Tensor]] = {}
    for name, group in GROUPS.items():
        for block in group(range(4), ipc, 5)[::-1]:
            for label, index in block.entries:
                picks = component.choose(config, KEY, label, ipc, 10, photos, teacher)
                image = component.image(config, Place(KEY, label, index, ipc, 10, SPACE), Material(photos, picks))
                assert image.shape[0] == 3 and image.dtype == torch.float32
                made.setdefault((label, index), {})[name] = image
    assert len(made) == 12
    assert all(torch.equal(images["across_classes"], image) for images in made.values() for image in images.values())


def refused(config: Mosaic | Confidence, ipc: int, size: int, photos: Photos) -> str:
    with pytest.raises(ValueError) as error:
        SCORED[config.use].choose(config, KEY, 7, ipc, size, photos, guide(Brightness()))
    return str(error.value)


def test_too_few_images_are_told_with_all_numbers() -> None:
    said = refused(cut(), 5, 12, Photos(19))
    assert "takes 20 crops of different images for 5 pictures of class 7, but 19 are looked at" in said
    assert "the class has 19, synthesize.initialize.candidates is 20" in said
    assert "but 20 are looked at: the class has 90" in refused(cut(), 6, 12, Photos(90))
    assert "cannot put 3 cells along 2 pixels" in refused(cut(factor=3), 1, 2, Photos(20))
    assert "confidence takes 5 images of class 7, which has 4" in refused(ranked(), 5, 12, Photos(4))


@pytest.mark.parametrize(("config", "ipc"), [(cut(), 5), (ranked(), 20)], ids=["mosaic", "confidence"])
def test_a_teacher_that_answers_nonsense_is_refused(config: Mosaic | Confidence, ipc: int) -> None:
    broken = Linear(8)
    nn.init.constant_(broken.weight, math.nan)
    with pytest.raises(ValueError, match="answers to images of class 2 are not finite"):
        SCORED[config.use].choose(config, KEY, 2, ipc, 8, Photos(30), guide(broken))


@pytest.mark.parametrize(("config", "needed"), [(cut(), 8), (ranked(), 2)], ids=["mosaic", "confidence"])
def test_no_picture_is_made_without_its_picks(config: Mosaic | Confidence, needed: int) -> None:
    image, place = SCORED[config.use].image, Place(KEY, 3, 0, 2, 8, SPACE)
    for picks, found in ((None, "0 picks"), ([whole(0, 4)], "1 picks")):
        with pytest.raises(ValueError, match=f"{config.use} needs {needed} picks of class 3; there are {found}"):
            image(config, place, Material(Photos(9), picks))
    with pytest.raises(ValueError, match=f"{config.use} needs real images, but the run has none"):
        image(config, place, Material())


LEVELS = [60, 20, 90, 40, 10, 70, 50]
"""Image 4 is the darkest, then 1, 3, 6, 0, 5, and 2 is the brightest."""


@pytest.mark.parametrize(
    ("order", "ipc", "expected"),
    [
        ("median", 5, [0, 5, 6, 2, 3]),  # ranks 4, 5, 3, 6, 2 of 0 to 6
        ("median", 7, [0, 5, 6, 2, 3, 1, 4]),  # the upper side has run out
        ("highest", 3, [2, 5, 0]),
        ("lowest", 3, [4, 1, 3]),
    ],
)
def test_whole_images_are_taken_by_rank(order: str, ipc: int, expected: list[int]) -> None:
    found = confidence.choose(ranked(order), KEY, 1, ipc, 12, greys(LEVELS), guide(Brightness()))
    assert [p.image for p in found] == expected
    assert {(p.top, p.left, p.height, p.width) for p in found} == {(0, 0, 12, 12)}


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [1, 0]), (3, [2, 1, 0]), (4, [2, 3, 1, 0])])
def test_small_classes_are_taken_whole_from_the_middle(count: int, expected: list[int]) -> None:
    photos = greys([20 * n for n in range(count)])
    found = confidence.choose(ranked(), KEY, 1, count, 12, photos, guide(Brightness()))
    assert [p.image for p in found] == expected


def test_the_score_of_a_whole_image_is_the_probability_of_its_class() -> None:
    (pick,) = confidence.choose(ranked(), KEY, 1, 1, 12, greys([102]), guide(Brightness(), PIXELS))
    assert pick.score == pytest.approx(1 / (1 + math.exp(-2 * 0.4)), rel=1e-5)


def test_equal_scores_keep_the_order_of_the_data_set() -> None:
    for order, expected in (("lowest", [0, 1, 2, 3]), ("highest", [5, 4, 3, 2])):
        found = confidence.choose(ranked(order), KEY, 1, 4, 12, greys([50] * 6), guide(Brightness()))
        assert [p.image for p in found] == expected


def test_more_images_than_a_batch_are_ranked_together() -> None:
    network, photos = Brightness(), greys([(37 * n) % 256 for n in range(205)], 4)
    found = confidence.choose(ranked("lowest"), KEY, 1, 205, 4, photos, guide(network))
    assert [len(batch) for batch in network.shown] == [BATCH, BATCH, 5]
    assert [p.image for p in found] == sorted(range(205), key=lambda n: (37 * n) % 256)


def test_a_whole_image_comes_by_the_resize_rule_and_normalised() -> None:
    photos = Photos(9, 10)
    real = Material(photos, [whole(4, 10), whole(7, 10)])
    image = confidence.image(ranked(), Place(KEY, 1, 1, 2, 10, SPACE), real)
    assert torch.equal(image, SPACE.normalize(photos.image(1, 7).float() / 255))


def test_scoring_leaves_no_gradient_behind() -> None:
    network = Linear(8)
    assert len(log_probabilities(guide(network), torch.full((5, 3, 8, 8), 0.5), 0, 8)) == 5
    assert network.weight.grad is None and not torch.is_inference_mode_enabled()
