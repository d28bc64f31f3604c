from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from raydc.errors import DataError
from raydc.report.data import Evolution
from raydc.report.pictures import PAPER, Row, contact_sheet, filmstrip, png


def noise(side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_small_pictures_grow_by_a_whole_factor_and_stay_crisp():
    image = noise(8)
    sheet = np.asarray(contact_sheet([Row("", [image])]))
    ys, xs = np.nonzero((sheet != PAPER).any(axis=2))
    found = sheet[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    assert found.shape == (96, 96, 3)
    assert (found[::12, ::12] == image).all() and (found[5::12, 7::12] == image).all()


def test_large_pictures_keep_every_pixel():
    image = noise(224)
    sheet = np.asarray(contact_sheet([Row("bird", [image, image], [image])], ("condensed", "real")))
    windows = np.lib.stride_tricks.sliding_window_view(sheet[:, :, 0], (224, 1))
    assert (windows[..., 0] == image[:, 0, 0]).all(axis=2).sum() == 3


def test_one_picture_a_class_makes_a_grid_and_not_a_tower():
    sheet = contact_sheet([Row(f"class {n}", [noise(96, n)]) for n in range(10)])
    assert 1.2 < sheet.width / sheet.height < 3
    pixels = np.asarray(sheet)
    for n in (0, 9):
        windows = np.lib.stride_tricks.sliding_window_view(pixels[:, :, 0], (96, 1))
        assert (windows[..., 0] == noise(96, n)[:, 0, 0]).all(axis=2).sum() == 1


def test_rows_of_unequal_length_and_long_or_foreign_titles_fit():
    rows = [Row("a name that goes on and on and on and on", [noise(8)] * 3, [noise(8)]), Row("鳥\n<b>", [], [])]
    sheet = contact_sheet(rows, ("condensed", "real"))
    assert sheet.width < 800
    assert Image.open(io.BytesIO(png(sheet))).size == sheet.size


def test_filmstrip_has_a_frame_a_step():
    strip = filmstrip([Evolution("3", [(0, noise(8)), (100, noise(8, 1))]), Evolution("4", [(0, noise(8))])])
    assert strip.width > 2 * 96 and strip.height > 2 * 96


def test_the_same_pictures_give_the_same_bytes():
    assert png(contact_sheet([Row("a", [noise(8)])])) == png(contact_sheet([Row("a", [noise(8)])]))


def test_what_is_no_picture_is_refused_by_name():
    with pytest.raises(DataError, match=r"'seven' is float32 \[8, 8\]; expected uint8"):
        contact_sheet([Row("seven", [np.zeros((8, 8), np.float32)])])
    with pytest.raises(DataError, match="found none"):
        contact_sheet([Row("seven", [])])
    with pytest.raises(DataError, match="found none"):
        filmstrip([])
