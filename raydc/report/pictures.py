"""Contact sheets and filmstrips: many small pictures on one tidy page, pixels left crisp."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from raydc.errors import DataError
from raydc.report.data import Evolution

CELL = 96
"""Pixels that a small picture is blown up to, at least half of it; larger pictures keep their own size."""

PAPER, INK, FAINT = (255, 255, 255), (28, 32, 38), (120, 126, 134)
MARGIN, GAP, DIVIDE = 24, 6, 28
FONT_PX = 15
LABEL_PX = 220
"""The widest column of titles; longer ones are cut with an ellipsis."""


class Row(NamedTuple):
    """A line of a contact sheet: its title, its u8 [H, W, 3] images, and those that stand beside them."""

    title: str
    images: Sequence[np.ndarray]
    beside: Sequence[np.ndarray] = ()


def contact_sheet(rows: Sequence[Row], headings: tuple[str, str] = ("", "")) -> Image.Image:
    """Return a page with one row of pictures a class; ``headings`` name the left and the right group.

    Where each class has one picture, the page is a grid with titles beneath.

    Small pictures grow by a whole factor with nearest-neighbour sampling, so that every pixel stays a square.

    Raises:
        DataError: there is no picture, or one is not u8 [H, W, 3].
    """
    every = [check(image, row.title) for row in rows for image in (*row.images, *row.beside)]
    if not every:
        raise DataError("a contact sheet needs at least one picture, found none")
    scale = factor(max(max(image.shape[:2]) for image in every))
    cell_h, cell_w = (scale * max(image.shape[axis] for image in every) for axis in (0, 1))
    left_n, right_n = max(len(row.images) for row in rows), max(len(row.beside) for row in rows)
    if left_n == 1 and not right_n:
        return _gallery([row for row in rows if row.images], scale, cell_h, cell_w)
    font = ImageFont.load_default(FONT_PX)
    titles = [_cut(row.title, font, LABEL_PX) for row in rows]
    label = round(max(font.getlength(title) for title in titles)) + (16 if any(titles) else 0)
    left = MARGIN + label
    right = left + left_n * (cell_w + GAP) - GAP + DIVIDE
    top = MARGIN + (FONT_PX + 12 if any(headings) else 0)
    width = (right + right_n * (cell_w + GAP) - GAP if right_n else right - DIVIDE) + MARGIN
    sheet = Image.new("RGB", (width, top + len(rows) * (cell_h + GAP) - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for x, heading, count in ((left, headings[0], left_n), (right, headings[1], right_n)):
        if count:
            draw.text((x, MARGIN), heading, FAINT, font)
    for index, (row, title) in enumerate(zip(rows, titles, strict=True)):
        y = top + index * (cell_h + GAP)
        draw.text((left - 16, y + cell_h / 2), title, INK, font, anchor="rm")
        for x, group in ((left, row.images), (right, row.beside)):
            for column, image in enumerate(group):
                sheet.paste(enlarge(image, scale), (x + column * (cell_w + GAP), y))
    return sheet


def _gallery(rows: Sequence[Row], scale: int, cell_h: int, cell_w: int) -> Image.Image:
    font = ImageFont.load_default(FONT_PX)
    columns = min(len(rows), math.ceil(math.sqrt(2 * len(rows))))  # about twice as wide as high
    pitch = cell_h + FONT_PX + 14
    lines = math.ceil(len(rows) / columns)
    sheet = Image.new("RGB", (2 * MARGIN + columns * (cell_w + GAP) - GAP, 2 * MARGIN + lines * pitch - 12), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, row in enumerate(rows):
        x, y = MARGIN + index % columns * (cell_w + GAP), MARGIN + index // columns * pitch
        sheet.paste(enlarge(row.images[0], scale), (x, y))
        draw.text((x, y + cell_h + 5), _cut(row.title, font, cell_w), INK, font)
    return sheet


def filmstrip(evolutions: Sequence[Evolution]) -> Image.Image:
    """Return a page that shows how pictures came about: a row a class, a frame a kept step, the step beneath it.

    Raises:
        DataError: there is no picture, or one is not u8 [H, W, 3].
    """
    every = [check(image, strip.name) for strip in evolutions for _, image in strip.frames]
    if not every:
        raise DataError("a filmstrip needs at least one picture, found none")
    scale = factor(max(max(image.shape[:2]) for image in every))
    cell_h, cell_w = (scale * max(image.shape[axis] for image in every) for axis in (0, 1))
    font, small = ImageFont.load_default(FONT_PX), ImageFont.load_default(FONT_PX - 3)
    titles = [_cut(strip.name, font, LABEL_PX) for strip in evolutions]
    left = MARGIN + round(max(font.getlength(title) for title in titles)) + (16 if any(titles) else 0)
    columns = max(len(strip.frames) for strip in evolutions)
    pitch = cell_h + 30
    size = (left + columns * (cell_w + GAP) - GAP + MARGIN, MARGIN + len(evolutions) * pitch - 12 + MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (strip, title) in enumerate(zip(evolutions, titles, strict=True)):
        y = MARGIN + index * pitch
        draw.text((left - 16, y + cell_h / 2), title, INK, font, anchor="rm")
        for column, (step, image) in enumerate(strip.frames):
            x = left + column * (cell_w + GAP)
            sheet.paste(enlarge(image, scale), (x, y))
            draw.text((x + cell_w / 2, y + cell_h + 4), f"step {step:,}", FAINT, small, anchor="ma")
    return sheet


def check(image: np.ndarray, title: str) -> np.ndarray:
    """Return a picture that is u8 [H, W, 3], or raise DataError."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"a picture of '{title}' is {found}; expected uint8 [height, width, 3]")
    return image


def factor(side: int) -> int:
    """Return the whole factor by which pictures of this side (pixels) are enlarged; 1 for large ones."""
    return max(1, round(CELL / side))


def enlarge(image: np.ndarray, scale: int) -> Image.Image:
    """Return a picture with every pixel repeated ``scale`` times both ways."""
    return Image.fromarray(np.repeat(np.repeat(image, scale, axis=0), scale, axis=1))


def png(picture: Image.Image) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    out = io.BytesIO()
    picture.save(out, format="PNG", optimize=True)
    return out.getvalue()


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"
