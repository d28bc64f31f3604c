"""What the teachers are shown of the real images: as torchvision would, of the photos themselves, keyed by image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms.functional import resized_crop

from raydc.config.load import merge, validate
from raydc.engine.statistics.looks import Looks
from raydc.errors import DataError
from raydc.keys import Key
from raydc.labels.views import resized_crop_boxes
from raydc.sources.base import open_source
from tests import tiny

PLAIN = {"min_scale": 1.0, "flip": 0.0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, one of upright photos and one of wide ones."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(12):
        name, height, width = (("tall", 66, 30), ("wide", 24, 54))[number % 2]
        pixels = np.random.default_rng(number).integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8)
        path = folder / name / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR).save(path)
    return folder


def looks(photos: Path, **settings: Any) -> Looks:
    """Looks at a data set that shows 16 pixels in the middle of 32."""
    data = {"name": "photos", "use": "folders", "train": str(photos), "validation_fraction": 0.2, "crop_fraction": 0.5}
    tree = merge(tiny.TREE, {"data": {**data, "image_size": 16}, "squeeze": {"statistics": settings}})
    config = validate(tree, "a test")
    source = open_source(config.data, Key((1,)))
    return Looks(source, Key((1, "statistics")), config.squeeze.statistics)


def stored(found: Looks, row: int) -> np.ndarray:
    split = found.source.train
    return np.array(Image.open(split.files[int(split.file[row])]))


def test_crops_are_cut_from_the_photo_itself(photos: Path) -> None:
    found = looks(photos, views={"min_scale": 0.3, "flip": 0.5})
    mirrored = []
    for row in range(len(found.source.train)):
        pixels, key = stored(found, row), found.key.child(1, row)
        (box,) = resized_crop_boxes(key.child("crop"), 1, *pixels.shape[:2], 0.3).tolist()
        expected = resized_crop(torch.from_numpy(pixels).permute(2, 0, 1) / 255, *box, [16, 16], antialias=True)
        mirrored.append(bool(key.child("flip").uniform(1)[0] < 0.5))
        look = found.image(1, row)
        assert look.dtype == torch.float32
        assert torch.allclose(look, expected.flip(-1) if mirrored[-1] else expected, atol=1e-5)
        assert not torch.equal(look, found.image(0, row)), "another pass is another look"
    assert 0 < sum(mirrored) < len(mirrored)


def test_a_look_hangs_on_its_image_alone(photos: Path) -> None:
    found, again = (looks(photos, views={"min_scale": 0.08}, pad=2) for _ in range(2))
    rows = np.arange(len(found.source.train))
    together = found.images(0, rows)
    assert together.shape == (len(rows), 3, 16, 16)
    assert torch.equal(again.images(0, rows[::-1]), together.flip(0))
    assert torch.equal(again.image(0, 3), together[3])


def test_without_a_crop_the_image_comes_as_the_data_set_shows_it(photos: Path) -> None:
    found = looks(photos, views=PLAIN)
    rows = np.arange(len(found.source.train))
    shown = torch.from_numpy(found.source.images(found.source.train, rows)).permute(0, 3, 1, 2)
    assert torch.equal(found.images(0, rows), shown.float() / 255)


def test_padding_cuts_a_window_of_what_the_data_set_shows(photos: Path) -> None:
    padded, plain = looks(photos, pad=3, views=PLAIN), looks(photos, views=PLAIN)
    corners = set()
    for row in range(len(padded.source.train)):
        top, left = padded.key.child(0, row, "pad").integers(0, 7, 1, 2)[0].tolist()
        whole = F.pad(plain.image(0, row), (3, 3, 3, 3))
        assert torch.equal(padded.image(0, row), whole[:, top : top + 16, left : left + 16])
        corners.add((top, left))
    assert len(corners) > 3


def test_a_damaged_image_is_told_by_name(photos: Path) -> None:
    found = looks(photos)
    split, row = found.source.train, 2
    path = Path(split.files[int(split.file[row])])
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:40])
        with pytest.raises(DataError, match=path.name):
            found.images(0, np.arange(4))
    finally:
        path.write_bytes(whole)
