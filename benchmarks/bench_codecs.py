"""What do the codecs lose of a real teacher's labels, and how fast are they?

Loss: EfficientNet-Lite0 (1,000 classes, trained weights from a Python package) answers CutMix views of the twenty
ImageNet pictures that the package foolbox carries; the share of the information (KL divergence from the uniform label)
that is lost by a round trip at several temperatures. Speed: a shard of labels of 1,000 and 10,450 classes (synthetic
logits), by NumPy and on tensors.

    python benchmarks/bench_codecs.py --views 30
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RECORDS, write_record

from raydc.condense import codecs
from raydc.config import load
from raydc.config.axes.views import CutMix, Views
from raydc.config.stages.relabel import Ensemble
from raydc.engine.ensemble import answers
from raydc.keys import Key
from raydc.labels.codecs import Codec, codec_of
from raydc.labels.fidelity import fidelity, information
from raydc.labels.views import COLUMNS, draw
from raydc.sources.classes import class_list
from raydc.sources.decode import decode_resized
from raydc.teachers.ensemble import Teachers
from raydc.teachers.teacher import adopt
from raydc.teachers.teacher import load as load_teacher

TEMPERATURES = (1.0, 2.0, 4.0, 10.0, 20.0)
SIDE = 224
CODECS = [codec_of("fp16"), codec_of("int8"), codec_of("int4"), *(codec_of("top_k", k=k) for k in (256, 128, 32, 5))]
CONFIG = "configs/imagenet-samples/rded.yaml"


def main() -> None:
    """Measure both, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--views", type=int, default=30, help="of each of the twenty pictures")
    parser.add_argument("--rows", type=int, default=1024, help="labels whose coding is timed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    options = parser.parse_args()
    logits = labels(options.views)
    lost = [loss(codec, logits) for codec in CODECS]
    for entry in lost:
        shares = "  ".join(f"{100 * s:7.3f}" for s in entry["lost"].values())
        print(f"{called(entry):12} {entry['bytes_per_view']:6} bytes  lost, % at T {TEMPERATURES}: {shares}")
    timed = [timing(c, classes, options) for classes in (1000, 10450) for c in CODECS]
    for entry in timed:
        rates = {k: round(options.rows / statistics.median(v)) for k, v in entry["seconds"].items()}
        print(f"{called(entry):12} {entry['classes']:6} classes, labels a second: {rates}")
    record = {
        "teacher": "tf_efficientnet_lite0",
        "labels": len(logits),
        "loss": lost,
        "rows": options.rows,
        "speed": timed,
    }
    print(
        write_record(
            "codecs", "loss of a real teacher's labels, and speed of the codecs", record, Path(options.records)
        )
    )


def called(entry: dict[str, Any]) -> str:
    """The codec of an entry in a word."""
    return " ".join(map(str, [entry["codec"], *entry["settings"].values()]))


def labels(views: int) -> np.ndarray:
    """Logits of CutMix views of foolbox's pictures, float32 ``[20 * views, 1000]``."""
    package = find_spec("foolbox")
    if package is None or package.origin is None:
        raise SystemExit("the pictures come with the package foolbox: pip install --no-deps foolbox")
    config = load(CONFIG)
    files = sorted((Path(package.origin).parent / "data").glob("imagenet_*"))
    pictures = np.stack([decode_resized(f.read_bytes(), f.name, SIDE, "center_crop") for f in files])
    images = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "lite0.safetensors"
        known = class_list(str(config.data.classes))
        record = adopt(next(t for t in config.squeeze.teachers if t.name == "lite0"), known, SIDE, weights)
        teachers = Teachers([load_teacher(record, weights)], Ensemble())
        found = []
        for view in range(views):
            key = Key((0, "codecs", view))
            records = draw(key, len(images), SIDE, SIDE, SIDE, Views(mix=CutMix(use="cutmix")))
            found.append(answers(teachers, images, records, SIDE, key).numpy())
    return np.concatenate(found)


def loss(codec: Codec, logits: np.ndarray) -> dict[str, Any]:
    """The share of the information that a round trip loses at each temperature."""
    classes = logits.shape[1]
    rows = codec.encode(logits)
    return {
        "codec": codec.name,
        "settings": codec.settings,
        "bytes_per_view": rows.shape[1] + 2 * len(COLUMNS),
        "lost": {f"T{t:g}": fidelity(logits, codec.decode(rows, classes, t), t) / information(logits, t)
                 for t in TEMPERATURES},
    }  # fmt: skip


def timing(codec: Codec, classes: int, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds to encode and to decode a shard's labels, by NumPy and on tensors, interleaved."""
    z = (2 * Key((0, "speed", classes)).normal(options.rows, classes)).astype(np.float32)
    rows, tensor = codec.encode(z), torch.from_numpy(z)
    encoded = torch.from_numpy(rows)
    jobs: dict[str, Callable[[], Any]] = {
        "numpy_encode": lambda: codec.encode(z),
        "torch_encode": lambda: codecs.encode(tensor, codec),
        "numpy_decode": lambda: codec.decode(rows, classes, 20.0),
        "torch_decode": lambda: codecs.decode(encoded, codec, classes, 20.0),
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(options.repeats):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - began)
    return {"codec": codec.name, "settings": codec.settings, "classes": classes, "seconds": seconds}


if __name__ == "__main__":
    main()
