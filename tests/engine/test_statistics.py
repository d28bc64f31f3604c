"""The statistics pass: the same bytes however it runs, resumed unit by unit, found again, and refused if damaged."""

from __future__ import annotations

import hashlib
import json
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
import safetensors
import safetensors.torch
import torch

from raydc.condense.statistics import MEAN, VAR, WITHIN, Segment, Statistics
from raydc.config.load import identity, merge, override
from raydc.engine import failures
from raydc.engine.run import open_run, same_data
from raydc.engine.statistics import assemble as assembling
from raydc.engine.statistics import collect, described, stage, statistics_of, units
from raydc.engine.statistics import job as addressing
from raydc.engine.statistics.assemble import assemble
from raydc.engine.statistics.job import Job
from raydc.engine.statistics.units import Unit, cut, rows_of
from raydc.errors import ClusterError, ConfigError, DataError
from raydc.plan.statistics import needed
from raydc.sources.base import Source
from raydc.sources.decode import decode, encode
from raydc.sources.split import Split
from raydc.teachers.networks import build
from raydc.teachers.statistics import Layout, Sums
from raydc.teachers.teacher import TeacherRecord, save
from tests import tiny
from tests.engine.collectors import Mortal
from tests.engine.small import Small, small

# Ray's own: it leaves files and sockets of its processes to the collector, and warns of its own settings.
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("ResourceWarning", "DeprecationWarning")]

TERMS = [
    {"use": "bn_statistics", "category": 0.5, "weight": 1.0},
    {"use": "conv_statistics", "category": 0.5, "weight": 1.0, "moment": "within_image", "tile": 4},
]
UNIT = 150
"""Images of a unit in these tests: a class of the digits has about 140."""
PLAIN = merge(tiny.CONVNET, {"options": {"norm": "none"}})
WHOLE = {"views": {"min_scale": 1.0, "ratio": [1.0, 1.0], "flip": 0.0}}
"""Every image as it is."""


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    with tiny.ray_here():
        yield


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "IMAGES", UNIT)
    monkeypatch.setattr(failures, "PAUSE_SECONDS", 0)


def made(folder: Path, changes: dict[str, Any] | None = None, scale: float = 1.0, **settings: Any) -> Small:
    """A run whose two teachers, a ResNet and a ConvNet without BatchNorm, were never trained."""
    first, second = (dict(tiny.TREE["squeeze"]["teachers"][0], name=name) for name in ("resnet", "conv"))
    tree: dict[str, Any] = {
        "squeeze": {"teachers": [first, {**second, "arch": PLAIN}], "statistics": {"pad": 1, **settings}},
        "synthesize": {"objective": TERMS, "teachers": {"sampling": "round_robin"}, "steps": 20, "augment": []},
    }
    found = small(folder, {**tree, **(changes or {})})
    wanted = found.run.config.squeeze.teachers[1]
    network = build(wanted.arch, len(found.source.classes), 16, found.run.key.child("second"))
    with torch.no_grad():
        next(network.parameters()).mul_(scale)
    record = TeacherRecord(
        name="conv", arch=wanted.arch, normalize=wanted.normalize, outputs=4, image_size=16,
        sha256=save(network, folder / "teachers" / "conv.safetensors"), origin="a test",
    )  # fmt: skip
    found.run.teachers().write_json("conv.json", record.model_dump(mode="json"))
    same_data(found.run, found.source)
    return found


def collected(run: Small) -> list[str]:
    return collect(run.run, [ray.put(run.source)], list(run.source.classes), run.emit)


def jobs(run: Small) -> list[Job]:
    wanted = needed(run.run.config)
    assert wanted is not None
    return addressing.jobs(run.run, wanted, wanted.teachers, run.source)


def digests(run: Small) -> list[str]:
    """Of the file of every teacher."""
    found = [hashlib.sha256(j.store.read(j.record()["file"])).hexdigest() for j in jobs(run)]
    assert found == [j.record()["sha256"] for j in jobs(run)]
    return found


def pins(run: Small) -> dict[str, Any]:
    """What the run itself keeps of each teacher."""
    return {name: run.run.folder.read_json(f"statistics/{name}.json") for name in ("resnet", "conv")}


def of(run: Small, name: str) -> Statistics:
    found = statistics_of(run.run, name)
    assert found is not None
    return found


def directly(monkeypatch: pytest.MonkeyPatch, dies_after: int = 10**9) -> list[str]:
    """Let units be collected in this process, one after another; returns their names as they are begun."""
    begun: list[str] = []

    def through(rows: list[dict[str, Any]], actor: type, arguments: tuple[Any, ...], *_: Any) -> None:
        collector = actor(*arguments)
        for row in rows:
            begun.append(Unit(row["number"], row["first"], row["last"]).name(row["turn"]))
            if len(begun) == dies_after:
                raise ClusterError("the last node is gone")
            found = collector({name: np.array([value]) for name, value in row.items()})
            if found["error"][0]:
                raise DataError(found["error"][0])

    def assembled(self: Any, left: list[Job]) -> None:
        for one in left:
            assemble(one, self.units, self.classes)

    monkeypatch.setattr(stage, "through", through)
    monkeypatch.setattr(stage._Pass, "_assemble", assembled)
    return begun


@pytest.fixture(scope="module")
def one(here: None, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Statistics that were collected without trouble, one unit after another."""
    found = made(tmp_path_factory.mktemp("one") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "IMAGES", UNIT)
        directly(patch)
        collected(found)
    return found


def test_three_workers_of_which_one_dies_write_the_same_bytes(
    one: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = made(tmp_path / "run", {"engine": {"workers": 3}})
    monkeypatch.setattr(stage, "Collector", Mortal)
    collected(other)
    assert Path(other.run.url, "died").exists()
    assert digests(other) == digests(one)
    said = [event["text"] for event in other.events if event["kind"] == "progress"]
    assert any(text.startswith("statistics under conv: 576 looks") for text in said), said


def test_a_pass_that_was_cut_off_goes_on_after_the_last_finished_unit(
    one: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = made(tmp_path / "run", {"engine": {"max_attempts": 1}})
    names = [unit.name(0) for unit in cut(other.source.train.counts(4))]
    assert len(names) > 3
    with pytest.MonkeyPatch.context() as patch:
        directly(patch, dies_after=3)
        with pytest.raises(ClusterError, match="the last node is gone"):
            collected(other)
    jobs(other)[1].work.remove(f"{names[0]}.json")  # one teacher's sums were committed, the other's not
    again = directly(monkeypatch)
    collected(other)
    assert again == [names[0], *names[2:]]
    assert digests(other) == digests(one)
    assert not any(j.work.list() or j.work.list("sums/") for j in jobs(other)), "what is assembled is removed"


def test_the_numbers_are_those_of_the_images(here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path / "run", {"seed": 3}, pad=0, passes=2, **WHOLE)
    directly(monkeypatch)
    assert collected(run) == [described(run.run)]
    train = run.source.train
    pictures = (run.source.images(train, np.arange(len(train))) / 255 - 0.3) / 0.3
    found = of(run, "conv")
    assert found.classes is not None and found.tile == 4 and found.segments[0] == Segment("features.0", 3, 16)
    for label in range(4):
        mine = pictures[train.label == label]
        row = found.classes[label]
        assert np.allclose(row[MEAN, :3], mine.mean((0, 1, 2)), rtol=1e-5)
        assert np.allclose(row[VAR, :3], mine.var((0, 1, 2)), rtol=1e-5)
        assert np.allclose(row[WITHIN, :3], mine.var((1, 2)).mean(0), rtol=1e-5)
        tiles = mine.reshape(-1, 4, 4, 4, 4, 3)
        assert np.allclose(row[MEAN, 3:19], tiles.mean((0, 2, 4, 5)).flatten(), rtol=1e-5)
        assert np.allclose(row[VAR, 3:19], tiles.var((0, 2, 4, 5)).flatten(), rtol=1e-5)
    assert np.allclose(found.whole[VAR, :3], pictures.var((0, 1, 2)), rtol=1e-5)
    held = jobs(run)[0].store.local(jobs(run)[0].record()["file"])
    assert held is not None
    counts = safetensors.torch.load_file(held)["counts"]
    assert counts.tolist() == (2 * train.counts(4)).tolist(), "two passes"
    with safetensors.safe_open(held, "pt") as file:
        facts = {key: json.loads(value) for key, value in file.metadata().items()}
    record = jobs(run)[0].record()
    assert facts == {key: record[key] for key in ("segments", "tile", "images")}
    assert facts["images"] == 2 * len(train) and facts["segments"] == [
        list(astuple(s)) for s in of(run, "resnet").segments
    ]


def test_classes_recombine_to_all_data(one: Small) -> None:
    for name in ("resnet", "conv"):
        found = of(one, name)
        mixed = found.of_classes(one.source.train.label.tolist(), "total", torch.device("cpu"))
        for layer, whole in found.of_all(torch.device("cpu")).items():
            assert torch.allclose(mixed[layer].mean, whole.mean, rtol=1e-4, atol=1e-5)
            assert torch.allclose(mixed[layer].var, whole.var, rtol=1e-4, atol=1e-6)


def test_a_run_with_the_same_store_finds_them_and_one_of_another_seed_does_not(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, begun = str(tmp_path / "store"), directly(monkeypatch)
    collected(made(tmp_path / "first", store=shared))
    first = list(begun)
    second = made(tmp_path / "second", {"evaluate": {"students": []}}, store=shared)
    before = tiny.stamps(*Path(shared).iterdir())
    collected(second)
    assert begun == first and tiny.stamps(*Path(shared).iterdir()) == before
    assert of(second, "conv").classes is not None
    other = made(tmp_path / "third", {"seed": 1}, store=shared)
    collected(other)
    assert len(begun) == 2 * len(first) and len(list(Path(shared).iterdir())) == 8


class Recoloured(Source):
    """The same names and labels, and one pixel of every image is another."""

    def raw(self, split: Split, i: int) -> bytes:
        pixels = decode(super().raw(split, i), "a digit")
        pixels[0, 0] = 255 - pixels[0, 0]
        return encode(pixels, "png")


def test_data_sets_of_the_same_names_do_not_share(here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, begun = str(tmp_path / "store"), directly(monkeypatch)
    first, second = (made(tmp_path / name, store=shared) for name in ("first", "second"))
    second.source = Recoloured(**vars(second.source))
    assert second.source.fingerprint() == first.source.fingerprint()
    collected(first)
    units_of_one = len(begun)
    collected(second)
    assert len(begun) == 2 * units_of_one
    assert not torch.equal(of(first, "conv").whole, of(second, "conv").whole)


def test_who_comes_second_takes_what_is_there_and_keeps_it(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another device rounds otherwise, so what is there is not written again, and what was found is written down."""
    shared = str(tmp_path / "store")
    first, second = (made(tmp_path / name, {"data": {"name": name}}, store=shared) for name in ("first", "second"))
    directly(monkeypatch)
    put = assembling._put

    def overtaken(*arguments: Any) -> Any:
        """While the second writes its file, the first is done."""
        monkeypatch.setattr(assembling, "_put", put)
        collected(first)
        return put(*arguments)

    monkeypatch.setattr(assembling, "_put", overtaken)
    collected(second)
    assert {pin["data"] for pin in pins(second).values()} == {"first"} and pins(second) == pins(first)
    assert [j.record()["data"] for j in jobs(second)] == ["first", "first"]
    before, address = of(second, "conv").whole.clone(), jobs(second)[1]
    changed = {**address.record(), "sha256": "0" * 64, "file": "another.safetensors"}
    address.store.write_json(f"{address.name}.json", changed)
    assert torch.equal(of(second, "conv").whole, before), "whatever becomes of the store's record"
    collected(second)
    assert pins(second) == pins(first)
    path = address.store.local(pins(second)["conv"]["file"])
    assert path is not None
    path.unlink()
    with pytest.raises(DataError, match="statistics of teacher 'conv' that this run began with are lost"):
        collected(second)


def test_a_store_that_is_no_disk(one: Small, here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path / "run", store=f"memory://{uuid.uuid4().hex}/statistics")
    directly(monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    collected(run)
    assert digests(run) == digests(one)
    assert torch.equal(of(run, "conv").whole, of(one, "conv").whole)


def test_half_precision_takes_half_and_gives_way_where_its_range_ends(
    one: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directly(monkeypatch)
    half = made(tmp_path / "half", precision="fp16")
    collected(half)
    found, exact = of(half, "resnet").classes, of(one, "resnet").classes
    assert found is not None and exact is not None and found.dtype == torch.float16
    assert torch.allclose(found.float(), exact, rtol=2**-11, atol=2**-25)
    assert torch.equal(of(half, "resnet").whole, of(one, "resnet").whole), "of all data always float32"
    large = made(tmp_path / "large", scale=1e5, precision="fp16")
    collected(large)
    assert [j.record()["precision"] for j in jobs(large)] == ["fp16", "fp32"]
    kept = of(large, "conv").classes
    assert kept is not None and kept.dtype == torch.float32 and kept.isfinite().all() and kept.max() > 65_504


def test_damage_is_told_by_name(here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directly(monkeypatch)
    run = made(tmp_path / "run")
    with pytest.raises(DataError, match="no statistics of the real data under teacher 'conv'.*squeeze"):
        statistics_of(run.run, "conv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage._Pass, "_assemble", lambda self, left: None)
        patch.setattr(stage, "described", lambda run: "")
        patch.setattr(stage, "pin", lambda job: None)
        collected(run)
    work = jobs(run)[1].work
    name = work.list("sums/")[1]
    whole = work.read(name)
    work.write(name, whole[:-1] + b"x")
    with pytest.raises(DataError, match=rf"{name} is not what its receipt says.*and\s+p000-u000001.json"):
        collected(run)
    work.write(name, whole)
    collected(run)
    record = jobs(run)[1].record()
    path = jobs(run)[1].store.local(record["file"])
    assert path is not None
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    with pytest.raises(DataError, match=record["file"]):
        statistics_of(run.run, "conv")


def test_weights_that_give_no_numbers_are_told_with_the_layer(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directly(monkeypatch)
    with pytest.raises(DataError, match=r"statistics of images 0 to 149 .*teacher 'conv' has values .* no numbers"):
        collected(made(tmp_path / "run", scale=float("inf")))


def test_only_what_the_objective_asks_for_is_collected(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = directly(monkeypatch)
    plain = made(tmp_path / "plain", {"synthesize": {"objective": [{"use": "bn_statistics"}]}})
    assert collected(plain) == [] and described(plain.run) == "" and statistics_of(plain.run, "resnet") is None
    objective = [{"use": "bn_statistics", "category": 1.0}]
    pool = {"objective": objective, "teachers": {"sampling": "all"}}
    classes = made(tmp_path / "classes", {"synthesize": pool})
    collected(classes)
    assert all(not s.tiles for s in of(classes, "resnet").segments) and len(begun) > 3
    assert statistics_of(classes.run, "conv") is None, "no BatchNorm: nothing to know"
    whole = made(
        tmp_path / "whole", {"synthesize": {**pool, "objective": [{"use": "conv_statistics", "by": ["channel"]}]}}
    )
    assert collected(whole)[0].startswith("statistics of all data at")
    assert of(whole, "conv").classes is None and of(whole, "conv").whole.shape[0] == 2


def test_blocks_are_made_with_them(one: Small) -> None:
    one.synthesize(ray.put)
    markers = [marker for name, marker in one.markers().items() if name.startswith("condensed/")]
    assert len(markers) == len(one.blocks)
    for history in (marker["history"] for marker in markers):
        assert history["steps"] == [0, 9, 18, 19], "the first teacher, the second, the first, the second"
        first, later = (history["bn_statistics"][n] + history["conv_statistics"][n] for n in (0, 2))
        assert 0 < later < first, f"it does not fall in {history}"
        assert history["bn_statistics"][1] == 0 < history["conv_statistics"][1], "the second has no BatchNorm"


def test_what_cannot_be_collected_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    for views, said in (
        ({"mix": {"use": "cutmix"}}, "statistics.views: mix is cutmix, but a mixture of two images is of no class"),
        ({"shuffle": 2}, "statistics.views: shuffle and randaugment are not done"),
        ({"randaugment": {"ops": 1}}, "statistics.views: shuffle and randaugment are not done"),
    ):
        with pytest.raises(ConfigError, match=said) as error:
            made(tmp_path / "run", views=views, store="here")
        assert "2 mistakes" in str(error.value)
        assert "statistics.store: workers have other working directories" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_smaller_batch_is_the_same_run_and_other_numbers_are_not(tmp_path: Path) -> None:
    run = made(tmp_path / "run").run.config

    def differs(text: str) -> bool:
        return identity(override(run, [f"squeeze.statistics.{text}"])) != identity(run)

    assert not differs("batch=16") and not differs("store=/elsewhere")
    assert differs("precision=fp16") and differs("passes=2") and differs("views.flip=0.25")


def with_batch(run: Small, batch: int) -> Small:
    """The same run, joined with another batch."""
    return Small(open_run(override(run.run.config, [f"squeeze.statistics.batch={batch}"])), run.source, [])


def test_a_batch_that_was_too_large_is_lowered_in_a_run_that_has_begun(
    one: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(tmp_path / "run", {"engine": {"max_attempts": 1}})
    with pytest.MonkeyPatch.context() as patch:
        directly(patch, dies_after=3)
        with pytest.raises(ClusterError):
            collected(run)
    begun = directly(monkeypatch)
    lower = with_batch(run, 7)
    said = collected(lower)
    for name in ("resnet", "conv"):
        found, whole = of(lower, name), of(one, name)
        assert found.classes is not None and whole.classes is not None
        assert torch.allclose(found.classes, whole.classes, rtol=1e-4, atol=1e-6)
    kept, units_of_all = pins(lower), len(begun)
    again = with_batch(run, 9)
    assert collected(again) == said and pins(again) == kept and len(begun) == units_of_all, "what is found is kept"


def test_what_is_seen_of_an_image_hangs_on_no_unit(one: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "IMAGES", 97)
    directly(monkeypatch)
    other = made(tmp_path / "run")
    collected(other)
    for name in ("resnet", "conv"):
        found, expected = of(other, name).classes, of(one, name).classes
        assert found is not None and expected is not None
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("counts", [[1], [3, 5000, 1, 1], [1] * 200, [140] * 7])
def test_units_hold_every_image_once_in_class_order(counts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    zeros = np.zeros(len(labels), np.int64)
    split = Split(("x",), zeros.astype(np.int32), zeros, zeros, labels)
    found = cut(np.array(counts))
    rows = [rows_of(split, np.cumsum(counts), unit.first, unit.last) for unit in found]
    assert max(map(len, rows)) <= UNIT and max(len(set(labels[r])) for r in rows) <= units.CLASSES
    assert np.array_equal(np.concatenate(rows), np.argsort(labels, kind="stable"))


def test_assembling_holds_units_and_not_all_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, width, count = made(tmp_path / "run"), 8_000, 100
    one = jobs(run)[0]
    one.__dict__["layout"] = Layout((0,), (Segment("stem", width, 0),), 0)
    found = []
    for number in range(count):  # each shares a class with the next
        sums = Sums.zeros(range(8 * number, 8 * number + 9), width, 3)
        sums.counts += 1
        sums.values += number
        unit = Unit(number, 0, 0)
        data = safetensors.torch.save(sums.tensors())
        written = one.work.write(f"sums/{unit.name(0)}-x.safetensors", data)
        counted = [[label, 1] for label in sums.labels.tolist()]
        receipt = {"file": written.path, "sha256": written.sha256, "counts": counted}
        one.work.write_json(f"{unit.name(0)}.json", receipt)
        found.append(unit)
    classes = [str(n) for n in range(8 * count + 1)]
    process, peak = psutil.Process(), 0
    merge = Sums.merge

    def watched(self: Sums, other: Sums) -> Sums:
        nonlocal peak
        peak = max(peak, process.memory_info().rss)
        return merge(self, other)

    monkeypatch.setattr(Sums, "merge", watched)
    before = process.memory_info().rss
    assemble(one, found, classes)
    size = one.record()["bytes"]
    assert size > 3 * width * 4 * len(classes), "77 MB, and 173 of sums"
    assert peak - before < size / 2, f"{(peak - before) / 1e6:.1f} MB were held for a file of {size / 1e6:.1f}"
    held = safetensors.torch.load(one.store.read(one.record()["file"]))
    assert held["classes"][9, MEAN].eq(1).all() and held["classes"][8, MEAN].eq(0.5).all()
