"""Any picture becomes RGB of the data set's size; a broken one is named."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from raydc.errors import DataError
from raydc.sources.decode import decode, decode_resized, encode

from .make import picture


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["jpg", "jpeg", "png", "webp"])
def test_each_kind_of_file_is_read_in_its_own_size(kind: str) -> None:
    image = decode(picture(1, kind), "x")
    assert image.shape == (9, 12, 3) and image.dtype == np.uint8 and image.flags.writeable


@pytest.mark.parametrize(("mode", "kind"), [("L", "png"), ("L", "jpg"), ("1", "png"), ("CMYK", "jpg")])
def test_other_colour_models_become_rgb_as_pillow_converts_them(mode: str, kind: str) -> None:
    data = picture(2, kind, mode)
    assert np.array_equal(decode(data, "x"), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    levels = np.array([[0, 257, 65535], [32896, 514, 65278]], dtype=np.uint16)
    assert np.array_equal(decode(saved(Image.fromarray(levels)), "x")[..., 0], [[0, 1, 255], [128, 2, 254]])


def test_alpha_is_dropped_and_the_colours_stay() -> None:
    rgba = np.random.RandomState(0).randint(0, 256, (5, 4, 4)).astype(np.uint8)
    assert np.array_equal(decode(saved(Image.fromarray(rgba)), "x"), rgba[..., :3])


def test_palette_with_and_without_transparency() -> None:
    colours = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], dtype=np.uint8))
    palette = colours.quantize(4)
    expected = np.asarray(palette.convert("RGB"))
    assert np.array_equal(decode(saved(palette), "x"), expected)
    assert np.array_equal(decode(saved(palette, transparency=bytes([0, 255, 128, 255])), "x"), expected)


def test_of_several_pictures_in_a_file_the_first_is_read() -> None:
    first, second = (Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (40, 200))
    camera = saved(first, "MPO", save_all=True, append_images=[second])  # cameras name these .jpg
    assert np.abs(decode(camera, "x").astype(int) - 40).max() < 3


@pytest.mark.parametrize("size", [(64, 64), (100, 41), (41, 100), (8, 30), (500, 3), (333, 222)])
@pytest.mark.parametrize("fraction", [1.0, 0.875])
def test_center_crop_is_resize_of_the_short_side_then_crop(size: tuple[int, int], fraction: float) -> None:
    data = picture(3, "png", size=size)
    image, target = Image.open(io.BytesIO(data)), 32
    short = round(target / fraction)
    width, height = size
    wide = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    left, top = round((wide[0] - target) / 2), round((wide[1] - target) / 2)
    two_steps = image.resize(wide, Image.Resampling.BILINEAR).crop((left, top, left + target, top + target))
    ours = decode_resized(data, "x", target, "center_crop", fraction).astype(int)
    assert ours.shape == (32, 32, 3)
    assert np.abs(ours - np.asarray(two_steps)).max() <= 1  # rounding of the filter only


def test_squish_uses_the_whole_picture() -> None:
    data = picture(4, "png", size=(40, 10))
    expected = Image.open(io.BytesIO(data)).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(decode_resized(data, "x", 16, "squish"), np.asarray(expected))


def test_an_image_of_the_right_size_is_left_alone() -> None:
    data = picture(5, "png", size=(16, 16))
    for rule in ("center_crop", "squish"):
        assert np.array_equal(decode_resized(data, "x", 16, rule), decode(data, "x"))


def test_a_thread_of_pixels_costs_no_memory() -> None:
    assert decode_resized(picture(6, "png", size=(30000, 1)), "x", 224, "center_crop").shape == (224, 224, 3)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"<html>404</html>", "not a readable JPEG, PNG or WebP image"),
        (picture(7, "png", size=(64, 64))[:-200], "not a readable .*truncated, damaged"),
        (picture(7, "jpg", size=(64, 64))[:400], "not a readable .*truncated, damaged"),
        (picture(7, "webp", size=(64, 64))[:60], "image"),
        (saved(Image.new("RGB", (4, 4)), "BMP"), "not a readable JPEG, PNG or WebP image"),
    ],
)
def test_broken_images_are_named(data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as told:
        decode(data, "s3://bucket/a.jpg")
    assert "s3://bucket/a.jpg" in str(told.value) and "Replace or remove" in str(told.value)


def test_a_decompression_bomb_is_refused() -> None:
    data = bytearray(picture(8, "png"))
    data[16:24] = (60000).to_bytes(4, "big") * 2  # the header's width and height
    with pytest.raises(DataError, match="not a readable"):
        decode(bytes(data), "x")


def test_png_is_exact_and_jpeg_keeps_full_chroma() -> None:
    image = np.random.RandomState(0).randint(0, 256, (16, 12, 3)).astype(np.uint8)
    assert np.array_equal(decode(encode(image, "png"), "x"), image)
    data = encode(image, "jpg", 95)
    assert [layer[1:3] for layer in Image.open(io.BytesIO(data)).layer] == [(1, 1)] * 3
    assert len(encode(image, "jpg", 50)) < len(data)
    assert encode(image, "jpg", 95) == data
