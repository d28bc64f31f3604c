"""How fast are 10,450-wide labels written and read, from a disk and from S3, and by which requests?

Makes a data set of some shards of the size that ImageNet-21K at IPC 20 has (1,024 images of 224 pixels, 8 views of
10,450 logits), copies it to an S3 server on this machine, and reads an epoch from both: labels alone, and whole
batches. A sample of the 205 shards is enough, for all are read in the same way: the record holds the requests of some.

    python benchmarks/bench_reading.py --shards 4 --scratch /tmp/reading
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import RECORDS, write_record

from raydc.config.axes.views import CutMix, Views
from raydc.engine.relabel import described
from raydc.keys import Key
from raydc.labels.codecs import codec_of
from raydc.labels.views import draw
from raydc.sources.condensed import CondensedDataset
from raydc.sources.decode import encode
from raydc.store import backend
from raydc.store.folder import Folder
from raydc.store.manifest import ImageFile, Images, LabelFile, Manifest, Source, add_label_set, publish
from raydc.store.shards import Sample, image_shard, keys_digest, label_shard

SIDE, SHARD, CLASSES = 224, 1024, 10450
SETS = {
    "fp16": codec_of("fp16"),
    "int8": codec_of("int8"),
    "int4": codec_of("int4"),
    "top128": codec_of("top_k", k=128),
}
BATCH = 128
BUCKET = "reading"


def main() -> None:
    """Write, read, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--scratch", required=True, help="folder for the data set, about 80 MB a shard and codec")
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    options = parser.parse_args()
    place = Path(options.scratch).resolve() / "dataset"
    shutil.rmtree(place, ignore_errors=True)
    written = write(Folder(str(place)), options.shards, options.views)
    found = {"disk": readings(str(place))}
    with s3(place) as url:
        found["s3"] = readings(url)
    for where, each in found.items():
        for reading in each:
            print(where, {k: v for k, v in reading.items() if k != "calls"})
    record = {"shards": options.shards, "views": options.views, "classes": CLASSES, "batch": BATCH, "written": written}
    what = "labels of 10,450 classes written and read, from a disk and from an S3 server on the same machine"
    print(write_record("reading", what, {**record, "read": found}, Path(options.records)))


def write(folder: Folder, shards: int, views: int) -> list[dict[str, Any]]:
    """Make the data set; how fast each label set was encoded and written."""
    classes = [f"c{c:05d}" for c in range(CLASSES)]
    files = [_images(folder, s) for s in range(shards)]
    shown = Images(count=shards * SHARD, size=(SIDE, SIDE), codec="jpg", quality=95, files=files)
    publish(folder, Manifest(source=Source(name="reading", classes=CLASSES), images=shown), classes, "# Reading\n")
    logits = (2 * Key((0, "logits")).normal(SHARD, CLASSES)).astype(np.float32)
    found = []
    for name, codec in SETS.items():
        encoding = writing = 0.0
        entries = []
        for file in files:
            made = []
            for v in range(views):
                records = draw(Key((0, file.path, v)), SHARD, SIDE, SIDE, SIDE, Views(mix=CutMix(use="cutmix")))
                began = time.perf_counter()
                made.append((v, records, codec.encode(np.roll(logits, v, axis=1))))
                encoding += time.perf_counter() - began
            began = time.perf_counter()
            tar, members = label_shard(made)
            receipt = folder.write(f"labels/{name}/{Path(file.path).stem}.tar", tar)
            writing += time.perf_counter() - began
            entries.append(LabelFile(**vars(receipt), images=file.path, views=(0, views), members=members,
                                     keys_sha256=file.keys_sha256))  # fmt: skip
        add_label_set(folder, name, described(codec, CLASSES, SIDE, views, entries))
        total = sum(e.bytes for e in entries)
        found.append({"set": name, "bytes": total, "bytes_per_view": codec.row_dtype(CLASSES).itemsize + 24,
                      "encode_s": encoding, "write_s": writing, "write_mb_s": total / 1e6 / writing,
                      "labels_per_s": shards * SHARD * views / (encoding + writing)})  # fmt: skip
        print(found[-1])
    return found


def _images(folder: Folder, s: int) -> ImageFile:
    """One shard of smooth coloured noise."""
    coarse = Key((0, "pictures", s)).uniform(16, 14, 14, 3)
    pictures = [encode((255 * np.kron(c, np.ones((16, 16, 1)))).astype(np.uint8), "jpg") for c in coarse]
    samples = [Sample((s * SHARD + i) % CLASSES, "c", i, s, "noise", "jpg", pictures[i % 16]) for i in range(SHARD)]
    tar, keys = image_shard(samples, s * SHARD)
    receipt = folder.write(f"images/train-{s:06d}.tar", tar)
    return ImageFile(**vars(receipt), samples=SHARD, keys_sha256=keys_digest(keys))


def readings(url: str) -> list[dict[str, Any]]:
    """An epoch of each label set alone, and of whole batches with int8 labels."""
    found = []
    for name in SETS:
        data = CondensedDataset(url, name, cache_bytes=1)
        found.append({"what": f"labels {name}", **timed(lambda data=data: _labels(data))})
    data = CondensedDataset(url, "int8")
    found.append({"what": "batches int8", **timed(lambda: _batches(data))})
    return found


def _labels(data: CondensedDataset) -> int:
    """Read and open one view of every shard; labels."""
    stored = data._labels
    for s, file in enumerate(data.manifest.images.files):
        if stored is not None:
            stored.decode(stored.block(file, s % data.views).rows)
    return len(data)


def _batches(data: CondensedDataset) -> int:
    """Read an epoch as a student does; images."""
    return sum(len(batch.labels) for batch in data.batches(0, BATCH, logits="encoded"))


def timed(job: Callable[[], int]) -> dict[str, Any]:
    """Seconds, bytes and requests of a job, and the memory that it added."""
    process, calls, peak = psutil.Process(), list[dict[str, Any]](), [0]
    stop = threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with counted(calls):
        began = time.perf_counter()
        rows = job()
        seconds = time.perf_counter() - began
    stop.set()
    watcher.join()
    total = sum(sum(call["bytes"]) for call in calls)
    return {"rows": rows, "seconds": seconds, "rows_per_s": rows / seconds, "bytes": total,
            "mb_s": total / 1e6 / seconds, "requests": sum(len(c["bytes"]) for c in calls),
            "added_memory": max(0, peak[0] - before), "calls": calls[:12]}  # fmt: skip


@contextmanager
def counted(calls: list[dict[str, Any]]) -> Iterator[None]:
    """Write down what is asked of the storage."""
    whole, parts = backend.whole, backend.parts

    def all_of(url: str) -> bytes:
        data = whole(url)
        calls.append({"file": url.rsplit("/", 2)[-2:], "what": "whole", "bytes": [len(data)]})
        return data

    def some_of(url: str, spans: Any) -> Any:
        found = parts(url, spans)
        calls.append({"file": url.rsplit("/", 2)[-2:], "what": "ranges", "offsets": [o for o, _ in spans],
                      "bytes": [n for _, n in spans]})  # fmt: skip
        return found

    backend.whole, backend.parts = all_of, some_of
    try:
        yield
    finally:
        backend.whole, backend.parts = whole, parts


@contextmanager
def s3(place: Path) -> Iterator[str]:
    """The data set on an S3 server (moto's) in a process of its own; its URL."""
    port = 5555 + os.getpid() % 1000
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    os.environ.update(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", AWS_ACCESS_KEY_ID="bench",
                      AWS_SECRET_ACCESS_KEY="bench", AWS_DEFAULT_REGION="us-east-1")  # fmt: skip
    try:
        import s3fs

        files = s3fs.S3FileSystem()
        for _ in range(60):
            try:
                files.mkdir(BUCKET)
                break
            except Exception:
                time.sleep(0.5)
        files.put(str(place), f"{BUCKET}/dataset", recursive=True)
        yield f"s3://{BUCKET}/dataset"
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
