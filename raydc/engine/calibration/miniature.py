"""A run in miniature, in a folder of its own: what a calibration needs of a run that has not been made.

Its teachers have random weights, its data set a handful of images; both lie where a run's lie, in a run's form, so that
the engine's own parts open them. Nothing is fetched, and the folder of the real run is not touched.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from raydc.condense.observer import layers
from raydc.condense.statistics import Statistics
from raydc.config.stages.squeeze import TeacherConfig
from raydc.engine.relabel import described
from raydc.engine.run import Run
from raydc.engine.statistics import needed
from raydc.engine.weights import read_record
from raydc.labels.codecs import Codec
from raydc.plan.blocks import Block
from raydc.sources.classes import class_list
from raydc.sources.decode import encode
from raydc.store.manifest import ImageFile, Images, LabelFile, Manifest, Source, publish
from raydc.store.shards import Sample, image_shard, keys_digest, label_shard
from raydc.teachers.networks import build
from raydc.teachers.statistics import layout_of
from raydc.teachers.teacher import TeacherRecord, columns_of, save

LABELS = "calibration"
"""The label set of the miniature."""
SETTLING = 8
"""Noise images that give BatchNorm layers their statistics."""


def teacher(run: Run, config: TeacherConfig, classes: list[str]) -> None:
    """Write a teacher with random weights."""
    own = None if config.classes is None else class_list(config.classes)
    outputs, side = len(own or classes), run.config.data.image_size
    key = run.key.child("calibrate", config.name)
    network = build(config.arch, outputs, side, key)
    # Statistics of what does come by: with those of a fresh network a deep one overflows, and no codec takes that.
    for layer in layers(network):
        if layer.kind == "bn":
            layer.module.momentum = 1.0  # type: ignore[assignment]
    with torch.no_grad():
        network.train()(torch.from_numpy(key.normal(SETTLING, 3, side, side)))
    path = Path(run.teachers().url) / f"{config.name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = TeacherRecord(
        name=config.name, arch=config.arch, normalize=config.normalize, outputs=outputs, image_size=side,
        columns=None if own is None else columns_of(own, classes, config.name), sha256=save(network.eval(), path),
        origin="random weights",
    )  # fmt: skip
    run.teachers().write_json(f"{config.name}.json", record.model_dump(mode="json"))


def statistics(run: Run, name: str) -> Statistics | None:
    """Statistics of nothing in the shapes of a teacher's own: what takes time is to compare with them."""
    wanted = needed(run.config)
    if wanted is None or name not in wanted.teachers:
        return None
    record = read_record(run.teachers(), name)
    layout = layout_of(record.arch, record.outputs, record.image_size, wanted)
    whole = torch.ones(3, layout.width)
    return Statistics(list(layout.segments), layout.tile, whole, whole.expand(record.classes, 3, layout.width))


def images(run: Run, pixels: np.ndarray, block: Block, classes: list[str]) -> Manifest:
    """The manifest of a data set of one shard, which is written; ``pixels`` are uint8 ``[n, H, W, 3]``.

    Images take their classes from the block, over and over.
    """
    pack, size = run.config.pack, run.config.data.image_size
    samples = []
    for n, image in enumerate(pixels):
        label = block.classes[n % len(block)]
        data = encode(image, pack.format, pack.quality)
        samples.append(Sample(label, classes[label], n, 0, LABELS, pack.format, data))
    tar, keys = image_shard(samples, 0)
    receipt = run.dataset("condensed").write("images/train-000000.tar", tar)
    file = ImageFile(path=receipt.path, bytes=receipt.bytes, sha256=receipt.sha256, samples=len(keys),
                     keys_sha256=keys_digest(keys))  # fmt: skip
    source = Source(name=run.config.data.name, classes=len(classes))
    shown = Images(count=len(keys), size=(size, size), codec=pack.format, files=[file])
    return Manifest(source=source, images=shown)


def labels(run: Run, manifest: Manifest, views: list[tuple[int, np.ndarray, np.ndarray]], codec: Codec) -> Manifest:
    """The same with a label set, which is written: of each view its number, records and encoded labels."""
    folder, image_file = run.dataset("condensed"), manifest.images.files[0]
    tar, members = label_shard(views)
    path = f"labels/{LABELS}/train-000000-{hashlib.sha256(tar).hexdigest()[:12]}.tar"
    receipt = folder.write(path, tar)
    file = LabelFile(path=path, bytes=receipt.bytes, sha256=receipt.sha256, images=image_file.path,
                     views=(0, len(views)), members=members, keys_sha256=image_file.keys_sha256)  # fmt: skip
    found = described(codec, manifest.source.classes, run.config.data.image_size, len(views), [file])
    return manifest.model_copy(update={"label_sets": {LABELS: found}})


def write(run: Run, manifest: Manifest, classes: list[str]) -> None:
    """Publish the data set: from now on it can be opened."""
    publish(run.dataset("condensed"), manifest, classes, "# A miniature\n")
