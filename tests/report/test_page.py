from __future__ import annotations

import re
from dataclasses import fields, replace
from html.parser import HTMLParser

import numpy as np
import pytest

from raydc.report.data import ClassRow, Curve, Evolution, ReportData, TeacherNote, Term, VerifierScore, WorkerLane
from raydc.report.page import render, write_report
from raydc.store.folder import Folder

from .demo import evaluations, full_report

VOID = {"meta", "img", "br", "link", "input"}
EVIL = "<script>alert(1)</script>\"'&"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.sections = [], [], [], []
        self.feed(text)
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self.sections.append(dict(attrs)["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def page():
    return Page(render(full_report()))


def test_a_full_run_fills_every_section(page):
    assert page.sections == [
        "worth",
        "classes",
        "pictures",
        "evolution",
        "objective",
        "verifiers",
        "curves",
        "cost",
        "provenance",
        "notes",
    ]


def test_the_page_needs_nothing_from_outside_and_runs_nothing(page):
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base", "form")
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("src", "data:image/").startswith("data:image/")
    html = render(full_report())
    assert "@import" not in html and not re.search(r"url\(", html) and "default-src 'none'" in html


def test_every_picture_and_chart_has_words_for_those_who_cannot_see_it(page):
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    charts = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(images) == 10 * 15 + 3 * 6 and all(attrs["alt"] for attrs in images)
    assert charts and all(attrs["aria-label"] and attrs["role"] == "img" for attrs in charts)


def test_one_kind_of_data_has_one_colour_in_every_chart():
    html = render(full_report())
    for series, shade in (("condensed", "condensed"), ("random", "random"), ("full", "full")):
        for label in re.findall(rf'class="track"[^>]*aria-label="{series}:[^"]*">(.*?)</svg>', html):
            assert set(re.findall(r"c-([a-z0-9]+)", label)) == {shade}
    assert len(re.findall(r"--condensed:", html)) == 2


def test_the_verdict_and_the_table_carry_their_units(page):
    assert "the condensed images win in 2 of 4 and lose in 2" in page.text
    assert "ahead with 3 of 3 seeds" in page.text and "points" in page.text
    for part in ("24.3 kB", "3.61 MB", "8 × 8 px", "6 min 48 s", "labels take 148 times", "minutes since the start"):
        assert part in page.text


def test_without_a_control_the_page_says_that_the_scores_prove_nothing():
    page = Page(render(ReportData(run="r", evaluations=evaluations(data=("condensed",)))))
    assert page.sections == ["worth"] and "cannot say whether condensing helped" in page.text


def test_sections_without_data_do_not_appear():
    assert Page(render(ReportData(run="bare"))).sections == []
    whole, bare = full_report(), ReportData(run="bare")
    found = set()
    for field in fields(ReportData):
        if field.name != "run":
            found |= set(Page(render(replace(bare, **{field.name: getattr(whole, field.name)}))).sections)
    assert len(found) == 10


def test_everything_that_users_name_is_escaped():
    tiny = np.zeros((4, 4, 3), np.uint8)
    entries = [{**e, "student": EVIL, "labels": EVIL, "data": EVIL} for e in evaluations()[:1]]
    html = render(
        ReportData(
            run=EVIL, created=EVIL, versions={EVIL: EVIL}, config_yaml=EVIL, method_title=EVIL,
            method_paper="javascript:alert(1)", dataset_id=EVIL, dataset_url="javascript:alert(2)",
            dataset_bytes={"images": 1, "labels": 1}, class_rows=[ClassRow(EVIL, [tiny], [tiny])],
            evolutions=[Evolution(EVIL, [(0, tiny)])], objective={EVIL: Term([0, 1], [1.0, 2.0])},
            verifiers=[VerifierScore(EVIL, EVIL, 0.5, 0.6, 3)],
            curves=[Curve(EVIL, EVIL, EVIL, 0, [1, 2], [0.1, 0.2], [1, 2])],
            evaluations=entries, teachers=[TeacherNote(EVIL, EVIL, None, EVIL, EVIL)], stage_seconds={EVIL: 3.0},
            worker_seconds=[WorkerLane(EVIL, EVIL, [(0.0, 1.0)], 1)], notes=[EVIL],
        )
    )  # fmt: skip
    page = Page(html)
    assert "<script" not in html and 'href="javascript' not in html
    assert page.text.count("alert(1)") > 15
    assert all("alert" not in name for _, attrs in page.tags for name in attrs)


def test_odd_numbers_do_not_break_a_chart():
    html = render(
        ReportData(
            run="odd",
            objective={
                "empty": Term([], []), "hole": Term([0, 1, 2], [1.0, float("nan"), 3.0]),
                "zero": Term([0, 1], [0.0, 0.0]),
                "negative": Term([0, 1], [-1.0, 5.0], [-2.0, 4.0], [0.0, 6.0]), "one": Term([5], [2.0]),
                "wide": Term([0, 1], [1e-12, 1e9]), "narrow": Term([0, 1], [1.0, 1.001]),
            },
            curves=[Curve("random", "soft", "s", 0, [1, 2], [None, 0.5]), Curve("full", "soft", "s", 0, [], [])],
            stage_seconds={"pack": 0.0}, worker_seconds=[WorkerLane("pack", "w", [], 0)],
        )
    )  # fmt: skip
    assert "nan" not in re.sub(r"<style>.*?</style>", "", html, flags=re.S) and "inf" not in re.findall(
        r'd="([^"]*)"', html
    )
    assert {"hole", "zero", "negative", "one", "wide", "narrow"} <= set(Page(html).texts)


def test_large_pictures_become_thumbnails_and_small_ones_stay_exact():
    small = render(ReportData(run="r", class_rows=[ClassRow("a", [np.zeros((8, 8, 3), np.uint8)])]))
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    large = render(ReportData(run="r", class_rows=[ClassRow("a", [noise] * 50)]))
    assert 'src="data:image/png' in small and 'class="pixel"' in small
    few = render(ReportData(run="r", classes=1000, ipc=50, class_rows=[ClassRow("a", [noise[:8, :8]] * 10)]))
    assert "The first 10 of 50 condensed images of 1 of 1,000 classes" in few
    assert large.count("<img") == 10 and "The first 10 of 50" in large and len(large) < 1_000_000


def test_the_same_run_gives_the_same_page():
    assert render(full_report()) == render(full_report())


def test_write_report_leaves_page_and_pictures(tmp_path):
    receipt = write_report(Folder(str(tmp_path)), full_report())
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "evolution.png",
        "images.png",
        "index.html",
    ]
    assert receipt.bytes == (tmp_path / "report" / "index.html").stat().st_size
    write_report(Folder(str(tmp_path / "bare")), ReportData(run="bare"))
    assert [path.name for path in (tmp_path / "bare" / "report").iterdir()] == ["index.html"]
