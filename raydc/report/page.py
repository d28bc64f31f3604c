"""The report of a run as one HTML page that holds everything it shows: no script, no network, no fonts of its own."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from raydc.report import cost, figures, sections
from raydc.report.across import across
from raydc.report.by_class import class_section
from raydc.report.data import ClassRow, Evolution, ReportData, TeacherNote
from raydc.report.label_curve import label_curve
from raydc.report.pictures import Row, check, contact_sheet, filmstrip, png
from raydc.report.template import css, template
from raydc.store.folder import Folder, Receipt

MOST = 10
"""Pictures of a class shown on each side."""

EXACT_PX = 96
"""Up to this side pictures are embedded as they are; larger ones as thumbnails, or the page would weigh tens of MB."""

THUMB_PX = 176
JPEG_QUALITY = 88
PIXEL_PX = 64
"""Up to this side a picture is shown with square pixels when it is enlarged."""


def render(data: ReportData) -> str:
    """Return the page as HTML. Sections without data are left out; the same data gives the same text.

    Raises:
        DataError: a picture is not u8 [H, W, 3], or an evaluation is not an entry of metrics.json.
    """
    return template("page").render(
        data=data,
        css=css(),
        columns=figures.columns,
        facts=sections.facts(data),
        paper_link=_link(data.method_paper),
        dataset_link=_link(data.dataset_url),
        results=sections.results(data.evaluations),
        pictures=_pictures([ClassRow(*row) for row in data.class_rows], data.classes, data.ipc),
        evolutions=_evolutions([Evolution(*strip) for strip in data.evolutions]),
        objective=figures.objective(data.objective),
        verifiers=figures.verifiers(data.verifiers),
        across=across(data.evaluations),
        label_curve=label_curve(data.evaluations),
        by_class=class_section(data.by_class),
        curves=figures.curves(data.curves),
        bytes=cost.sizes(data),
        time=cost.timeline(data),
        hours=cost.hours(data.device_hours),
        teachers=[_teacher(teacher) for teacher in data.teachers],
    )


def write_report(folder: Folder, data: ReportData) -> Receipt:
    """Write ``report/index.html`` and, where there are pictures, ``report/images.png`` and ``report/evolution.png``.

    Returns the receipt of the page.
    """
    report = folder.child("report")
    rows = [Row(row.name, row.condensed[:MOST], row.real[:MOST]) for row in map(ClassRow._make, data.class_rows)]
    if any(row.images or row.beside for row in rows):
        report.write("images.png", png(contact_sheet(rows, ("condensed", "real"))))
    strips = [Evolution(*strip) for strip in data.evolutions if strip[1]]
    if strips:
        report.write("evolution.png", png(filmstrip(strips)))
    return report.write("index.html", render(data).encode())


def shown(image: np.ndarray, title: str) -> dict[str, Any]:
    """A picture ``[H, W, 3]`` as the template wants it; large ones become thumbnails."""
    check(image, title)
    height, width = image.shape[:2]
    picture, out = Image.fromarray(image), io.BytesIO()
    if max(height, width) <= EXACT_PX:
        picture.save(out, format="PNG", optimize=True)
        head = "data:image/png;base64,"
    else:
        picture.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
        picture.save(out, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
        head = "data:image/jpeg;base64,"
    uri = head + base64.b64encode(out.getvalue()).decode()
    return {"uri": uri, "width": width, "height": height, "pixelated": max(height, width) <= PIXEL_PX}


def _pictures(rows: Sequence[ClassRow], classes: int, ipc: int) -> dict[str, Any] | None:
    left = min(MOST, max((len(row.condensed) for row in rows), default=0))
    right = min(MOST, max((len(row.real) for row in rows), default=0))
    if not left + right:
        return None
    side = max(max(image.shape[:2]) for row in rows for image in (*row.condensed[:1], *row.real[:1]))
    cell = 56 if side <= PIXEL_PX else 100
    listed = [
        {
            "name": row.name,
            "condensed": [shown(image, row.name) for image in row.condensed[:MOST]],
            "real": [shown(image, row.name) for image in row.real[:MOST]],
        }
        for row in rows
    ]
    most = max(ipc, *(len(row.condensed) for row in rows))
    which = f"{len(rows):,} of {classes:,} classes" if classes > len(rows) else "each class"
    caption = f"The first {left} of {most:,} condensed images of {which}" if most > left else f"All images of {which}"
    caption += ", beside real training images." if right else "."
    return {"rows": listed, "left": left or 1, "right": right or 1, "any_real": right > 0, "caption": caption,
            "tile": max(220, cell * (left + right) + 24), "narrow": min(5, max(left, right))}  # fmt: skip


def _evolutions(strips: Sequence[Evolution]) -> list[dict[str, Any]]:
    return [
        {
            "name": strip.name,
            "frames": [{"step": f"{step:,}", "shown": shown(image, strip.name)} for step, image in strip.frames],
        }
        for strip in strips
        if strip.frames
    ]


def _teacher(teacher: TeacherNote) -> dict[str, str]:
    top1 = f"{100 * teacher.top1:.1f}" if teacher.top1 is not None else "–"
    return {"name": teacher.name, "arch": teacher.arch, "top1": top1, "sha256": teacher.sha256,
            "short": teacher.sha256[:12], "origin": teacher.origin}  # fmt: skip


def _link(text: str) -> str:
    """Return the address that a text is or names, or an empty text: only http(s), never another scheme."""
    if text.startswith(("https://", "http://")) and " " not in text:
        return text
    if text.lower().startswith("arxiv:") and " " not in text:
        return f"https://arxiv.org/abs/{text[6:]}"
    return ""
