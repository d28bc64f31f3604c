"""Images out of nothing: any number of classes, the same to every process, and nothing stored for them."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from raydc.config.stages.data import DataConfig
from raydc.keys import Key
from raydc.sources.base import Source, open_source

KEY = Key((0, "holdout"))


def opened(**changes: Any) -> Source:
    tree = {"use": "generated", "classes": 12, "images": 5, "image_size": 16, **changes}
    return open_source(DataConfig.model_validate(tree), KEY)


def test_an_image_is_the_same_in_every_process_and_in_larger_data_sets() -> None:
    source, larger = opened(), opened(classes=40, images=9)
    other = pickle.loads(pickle.dumps(source))  # noqa: S301
    for row in (0, 7, 30):
        place = source.train.offset[row]
        again = int(np.flatnonzero(larger.train.offset == place)[0]) if place in larger.train.offset else None
        assert np.array_equal(source.image(source.train, row), other.image(other.train, row))
        if again is not None:
            assert np.array_equal(source.image(source.train, row), larger.image(larger.train, again))
    assert source.fingerprint() == other.fingerprint() != larger.fingerprint()


def test_classes_can_be_told_apart_and_images_of_one_class_differ() -> None:
    source = opened()
    images = source.images(source.train, range(len(source.train))).reshape(len(source.train), -1).astype(float)
    assert len(np.unique(images, axis=0)) == len(images)
    likeness = np.corrcoef(images)
    same = source.train.label[:, None] == source.train.label[None]
    np.fill_diagonal(likeness, np.nan)
    assert np.nanmin(likeness[same]) > 0.4 > np.abs(likeness[~same]).max()


def test_the_index_is_all_there_is_of_many_classes() -> None:
    source = opened(classes=20_000, images=10)
    assert len(source.train) == 160_000 and len(source.validation) == 40_000 and source.held_out
    names = sum(len(name) + 3 for name in source.classes)
    assert len(pickle.dumps(source)) < 24 * 200_000 + names + 2_000


def test_a_subset_keeps_its_images() -> None:
    whole, part = opened(), opened(subset=[7, 3])
    assert part.classes == ("07", "03")
    first = part.image(part.train, int(part.train.of_class(1)[0]))
    assert np.array_equal(first, whole.image(whole.train, int(whole.train.of_class(3)[0])))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": None}, "needs 'images'"),
        ({"classes": None}, "needs 'classes'"),
        ({"train": "somewhere"}, "takes no 'train'"),
        ({"use": "digits", "classes": None}, "use: generated, and no other, needs 'images'"),
    ],
)
def test_what_it_needs_is_asked_for(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        opened(**changes)
