"""A tiny data set made with the store's own API: 2 shards, 3 classes, one int8 label set of CutMix views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raydc.config.axes.views import CutMix, Views
from raydc.keys import Key
from raydc.labels import views
from raydc.labels.codecs import codec_of, describe
from raydc.sources.decode import encode
from raydc.store import manifest as m
from raydc.store.folder import Folder
from raydc.store.schema import Aug, CodecName, ImageFile, Images, LabelFile, LabelSet, Manifest, Source
from raydc.store.shards import Sample, image_shard, keys_digest, label_shard

CLASSES = ("n01 cat", "n02 dog", "n03 owl")


@dataclass
class Toy:
    """What went in, to be compared with what comes out."""

    folder: Folder
    images: np.ndarray
    labels: np.ndarray
    records: np.ndarray
    logits: np.ndarray
    shards: tuple[int, ...]


def pixels(count: int, side: int) -> np.ndarray:
    """Coloured gradients with a class-dependent tint: uint8 [count, side, side, 3]."""
    ramp = np.linspace(0, 120, side)
    images = np.zeros((count, side, side, 3))
    images[..., 0] += ramp[None, :, None]
    images[..., 1] += ramp[None, None, :]
    for i in range(count):
        images[i, ..., i % 3] += 100 + i
    return images.astype(np.uint8)


def write_images(folder: Folder, images: np.ndarray, shards: tuple[int, ...], codec: str = "png") -> Manifest:
    """Write image shards and return the manifest that publish needs."""
    files, start = [], 0
    for s, size in enumerate(shards):
        samples = [
            Sample(i % 3, CLASSES[i % 3].split()[0], i // 3, i // 4, f"block-{i // 4}", codec, encode(images[i], codec))
            for i in range(start, start + size)
        ]
        data, keys = image_shard(samples, start)
        receipt = folder.write(f"images/train-{s:06d}.tar", data)
        files.append(ImageFile(**vars(receipt), samples=size, keys_sha256=keys_digest(keys)))
        start += size
    settings = Images(count=start, size=images.shape[1:3], codec=codec, permutation_seed=7, files=files)
    return Manifest(source=Source(name="toy", classes=len(CLASSES)), images=settings, created="2026-01-01T00:00:00Z")


def draw_labels(manifest: Manifest, shards: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Records [V, n, 12] and logits [V, n, 3]."""
    side = manifest.images.size[0]
    mix = Views(mix=CutMix(use="cutmix"))
    records = np.concatenate(
        [np.stack([views.draw(Key((7, s, v)), n, side, side, side, mix) for v in range(count)])
         for s, n in enumerate(shards)], axis=1)  # fmt: skip
    return records, 4 * Key((7, "logits")).normal(count, sum(shards), len(CLASSES))


def write_labels(
    folder: Folder, manifest: Manifest, records: np.ndarray, logits: np.ndarray, name: str = "soft",
    codec: str = "int8", **settings: int,
) -> LabelSet:  # fmt: skip
    """Write label shards and return the set to be added."""
    files, start, coder = [], 0, codec_of(codec, **settings)
    for s, image in enumerate(manifest.images.files):
        rows = slice(start, start + image.samples)
        data, members = label_shard((v, records[v, rows], coder.encode(logits[v, rows])) for v in range(len(records)))
        receipt = folder.write(f"labels/{name}/train-{s:06d}-v0000-{len(records) - 1:04d}.tar", data)
        files.append(LabelFile(**vars(receipt), images=image.path, views=(0, len(records)), members=members,
                               keys_sha256=image.keys_sha256))  # fmt: skip
        start += image.samples
    dtype = coder.row_dtype(len(CLASSES))
    return LabelSet(
        views=len(records), codec=CodecName(use=codec, version=coder.version, **settings), row_bytes=dtype.itemsize,
        row_dtype=describe(coder, len(CLASSES)), aug=Aug(sampler="bilinear-v1"), teachers=["sha256:" + "0" * 64],
        decoder="Pillow", fidelity={"T1": {"kl_mean": 0.0}}, files=files,
    )  # fmt: skip


def build(
    url: str, shards: tuple[int, ...] = (8, 7), side: int = 16, count: int = 3, labels: bool = True, codec: str = "png"
) -> Toy:
    """Write and publish the whole data set."""
    folder = Folder(url)
    images = pixels(sum(shards), side)
    manifest = write_images(folder, images, shards, codec)
    manifest = m.publish(folder, manifest, CLASSES, "# toy\n", {"provenance/run.yaml": b"a: 1\n"})
    records, logits = draw_labels(manifest, shards, count)
    if labels:
        m.add_label_set(folder, "soft", write_labels(folder, manifest, records, logits))
    return Toy(folder, images, np.arange(len(images)) % 3, records, logits, shards)
