"""Parts become shards: every image once, whatever the cluster does meanwhile, in memory that does not grow."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

from raydc.config.stages.engine import EngineConfig
from raydc.engine import failures, pack
from raydc.engine.capacity import room
from raydc.engine.parts import image_name, write_part
from raydc.engine.rows import ROW, rows_of
from raydc.errors import ClusterError, DataError
from raydc.sources.decode import decode, encode
from raydc.store.folder import Folder
from raydc.store.manifest import read
from tests import tiny
from tests.engine.packers import unlucky
from tests.engine.small import Small, small

# Ray's own: it leaves files and sockets of its processes to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    with tiny.ray_here():
        yield


def picture(label: int, index: int) -> np.ndarray:
    return np.full((16, 16, 3), 40 * label + index, np.uint8)


@pytest.fixture
def made(tmp_path: Path) -> Small:
    """A run whose blocks are done: 4 classes x 5 images in blocks of 3, to be packed in shards of 3."""
    found = small(tmp_path / "run", {"synthesize": {"ipc": 5}})
    folder = found.run.blocks("condensed")
    for block in found.blocks:
        images = [(image_name(n, "png"), encode(picture(*e), "png")) for n, e in enumerate(block.entries)]
        folder.write_json(f"{block.id}.json", {**write_part(folder, block, images), "shown": 0, "history": {}})
    return found


def images_in(made: Small) -> dict[tuple[int, int], int]:
    """(class, number in it) of every packed image, and its block; pictures are held against what was put in."""
    found = {}
    folder = made.run.dataset("condensed")
    for file in read(folder).images.files:
        with tarfile.open(fileobj=io.BytesIO(folder.read(file.path))) as tar:
            members = {name: tar.extractfile(name).read() for name in tar.getnames()}
        for name in members:
            if name.endswith(".json"):
                facts, key = json.loads(members[name]), name.removesuffix(".json")
                what = facts["label"], facts["ipc"]
                assert what not in found and members[f"{key}.cls"] == b"%d" % what[0]
                assert np.array_equal(decode(members[f"{key}.png"], name), picture(*what))
                found[what] = facts["block"]
    return found


def test_every_image_is_packed_once_with_what_is_known_of_it(here: None, made: Small) -> None:
    made.pack()
    assert images_in(made) == {e: b.number for b in made.blocks for e in b.entries}
    assert "condensed: 7 of 7 shards packed" in [e["text"] for e in made.said("progress")]
    before = tiny.stamps(*Path(made.run.url).glob("datasets/*/*"))
    made.pack()
    assert tiny.stamps(*Path(made.run.url).glob("datasets/*/*")) == before


def test_the_cluster_may_fail_while_shards_are_finished(
    here: None, made: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "pack_shard", ray.remote(unlucky))
    monkeypatch.setattr(failures, "PAUSE_SECONDS", 0)
    made.pack()
    assert len(images_in(made)) == 20
    assert {e["unit"] for e in made.said("unit_retried")} == {"packing condensed"}


def test_a_shard_that_always_fails_ends_the_stage_after_all_others(
    here: None, made: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "pack_shard", ray.remote(unlucky))
    monkeypatch.setattr(failures, "PAUSE_SECONDS", 0)
    made.run.config.__dict__["seed"] = 1
    with pytest.raises(ClusterError, match="out of luck"):
        made.pack()
    assert made.run.work("pack", "condensed").list() == [f"{n:06d}.json" for n in (0, 1, 3, 4, 5, 6)]


def test_as_many_shards_at_a_time_as_cpus_and_memory_allow(here: None) -> None:
    (node,) = ray.nodes()
    memory, cpus = node["Resources"]["memory"], int(node["Resources"]["CPU"])
    engine = EngineConfig(gpus_per_worker=1, cpus_per_worker=64)
    assert room(pack.packer(engine, 1)) == cpus
    assert room(pack.packer(engine, int(memory / pack.COPIES / 1.5))) == 1
    assert room(pack.packer(engine, int(10 * memory))) == 1


def test_a_marker_that_is_not_listed_yet_is_asked_for_by_name(made: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [b.id for b in made.blocks]
    monkeypatch.setattr(Folder, "list", lambda self, prefix="": [f"{block}.json" for block in ids[:3]])
    pack.check_markers(made.run, "condensed", ids)
    for lost in ids[1], ids[5]:
        made.run.blocks("condensed").remove(f"{lost}.json")
    with pytest.raises(DataError, match=f"1 of 10 blocks of 'condensed' have no marker .first: {ids[5]}"):
        pack.check_markers(made.run, "condensed", ids)


def test_the_index_of_the_images_is_an_array(made: Small) -> None:
    rows = rows_of(made.run, "condensed", [b.id for b in made.blocks])
    assert rows.images.dtype == ROW and ROW.itemsize == 24 and len(rows.parts) == len(made.blocks)
    entries = [(block.number, *e) for block in made.blocks for e in block.entries]
    assert [(rows.parts[r["part"]][1], r["label"], r["index"]) for r in rows.images] == entries
