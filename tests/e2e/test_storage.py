"""A whole run on S3 whose storage fails in every way, held against the same run undisturbed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from raydc.errors import ConfigError
from raydc.store import tar
from raydc.store.folder import Folder
from raydc.store.verify import verify
from tests import faulty, s3, tiny

from .conftest import Reference

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # botocore's and moto's own
    pytest.mark.timeout(900),  # the first test makes two whole runs
]
MOMENTS = {"blocks/condensed/": 10.0, "work/relabel/": 3.0, "students/": 3.0}
"""When the storage goes away altogether: at the first file here, for so many seconds."""


@dataclass(frozen=True)
class Faulty:
    """A run that went through all that, and what lies in its bucket now."""

    code: int
    said: str
    log: dict[str, bytes]
    folder: Folder
    files: dict[str, bytes]
    unfinished: list[Any]
    injected: dict[str, int]


@pytest.fixture(scope="module")
def survived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    here = tmp_path_factory.mktemp("faulty")
    with faulty.bucket("faulty") as (url, proxy), tiny.ray_folder() as ray:
        config = tiny.write(here, {"output": f"{url}/tiny", "engine": {"storage_patience": 120.0}})
        proxy.busy, proxy.cut_uploads, proxy.cut_downloads, proxy.lose_answers = 23, 13, 17, 19
        command = tiny.Command("run", config, ray=ray, cwd=here)
        try:
            # Ray Train starts its group again for each checkpoint that a listing lacks: right, but it takes its time.
            command.until(lambda: proxy.holds("tiny/teachers/resnet.safetensors"), "the teacher", 300)
            proxy.stale_s = 3.0
            for begun, seconds in MOMENTS.items():
                command.until(lambda begun=begun: proxy.holds(f"tiny/{begun}"), f"the first of {begun}", 300)
                proxy.outage(seconds).join()
            code = command.result(300)
        except BaseException:
            command.kill()
            raise
        injected = dict(proxy.injected)
        proxy.calm()
        log = {str(p): p.read_bytes() for p in Path(ray).rglob("*") if p.is_file() and p.stat().st_size < 50 << 20}
        pages = proxy.direct.get_paginator("list_objects_v2").paginate(Bucket="faulty")
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        files = {k: proxy.direct.get_object(Bucket="faulty", Key=k)["Body"].read() for k in keys}
        unfinished = proxy.direct.list_multipart_uploads(Bucket="faulty").get("Uploads", [])
        yield Faulty(code, command.said(), log, Folder(f"{url}/tiny"), files, unfinished, injected)


def test_it_ends_well_though_every_fault_happened(survived: Faulty) -> None:
    assert survived.code == 0, survived.said
    assert "Traceback" not in survived.said
    assert survived.injected.pop("outage") == len(MOMENTS)
    assert all(count > 0 for count in survived.injected.values()) and len(survived.injected) == 5, survived.injected


def test_it_made_what_an_undisturbed_run_makes(survived: Faulty, reference: Reference) -> None:
    for name in ("condensed", "random"):
        ours = json.loads(survived.files[f"tiny/datasets/{name}/raydc.json"])
        theirs = json.loads((reference.folder / "datasets" / name / "raydc.json").read_text())
        assert ours["dataset_id"] == theirs["dataset_id"] and ours["images"] == theirs["images"]
        assert ours["label_sets"] == theirs["label_sets"]
        assert verify(survived.folder.child("datasets", name)) == []
    ours = json.loads(survived.files["tiny/metrics.json"])["evaluations"]
    theirs = json.loads((reference.folder / "metrics.json").read_text())["evaluations"]
    assert [{**e, "wall_s": 0} for e in ours] == [{**e, "wall_s": 0} for e in theirs]


def test_nothing_is_half_written(survived: Faulty) -> None:
    for name, data in survived.files.items():
        kind = Path(name).suffix
        if kind == ".json":
            json.loads(data)
        elif kind == ".jsonl":
            assert all(json.loads(line) for line in data.splitlines()) and data.endswith(b"\n"), name
        elif kind == ".tar":
            assert list(tar.scan(io.BytesIO(data), name))
        elif kind == ".safetensors":
            assert safetensors.torch.load(data)
        else:
            assert kind in (".yaml", ".html", ".png", ".md", ".txt", "") and "tmp" not in name, name
    assert survived.unfinished == []
    kept = {name.split("/")[2] for name in survived.files if name.split("/")[1] == "work"}
    assert kept & {"checkpoints", "students"} == set()


@pytest.mark.parametrize("url", ["ftp://me:hunter2@host/x", "https://host/x-{0..9}.tar?X-Amz-Signature=hunter2"])
def test_a_config_with_a_credential_is_refused_before_it_is_written(
    url: str, tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"use": "webdataset", "name": "mine", "train": url, "image_size": 16}
    assert tiny.code("run", tiny.write(tmp_path, {"data": data})) == ConfigError.exit_code
    said = "".join(capsys.readouterr())
    assert "spells a credential" in said and "environment" in said and "hunter2" not in said
    assert not (tmp_path / "run").exists()


def test_no_secret_is_written_or_said(survived: Faulty) -> None:
    assert len(survived.log) > 10 and len(survived.files) > 30
    for name, data in {**survived.files, **survived.log, "said": survived.said.encode()}.items():
        assert s3.SECRET.encode() not in data and s3.ID.encode() not in data, name
