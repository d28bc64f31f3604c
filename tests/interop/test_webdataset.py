"""The published shards through the plain ``webdataset`` library, as its documentation says to read any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toys
import webdataset as wds

# webdataset leaves its files to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


KINDS = {"label": int, "synset": str, "ipc": int, "block": int, "source": str}


def test_images_classes_and_facts(toy: toys.Toy, root: Path) -> None:
    urls = str(root / "images" / "train-{000000..000002}.tar")
    samples = list(wds.WebDataset(urls, shardshuffle=False).decode("rgb8").to_tuple("png", "cls", "json", "__key__"))
    assert [s[3] for s in samples] == [f"{i:08d}" for i in range(23)]
    for i, (image, label, facts, _) in enumerate(samples):
        assert np.array_equal(image, toy.images[i]) and label == toy.labels[i] == facts["label"]
        assert {k: type(v) for k, v in facts.items()} == KINDS


def test_jpeg_images(toy_jpg: toys.Toy) -> None:
    urls = str(Path(toy_jpg.folder.url) / "images" / "train-{000000..000002}.tar")
    samples = list(wds.WebDataset(urls, shardshuffle=100).shuffle(50).decode("rgb8").to_tuple("jpg", "cls"))
    assert sorted(s[1] for s in samples) == sorted(toy_jpg.labels)


def test_labels_are_one_sample_a_view(toy: toys.Toy, root: Path) -> None:
    path = str(root / "labels" / "soft" / "train-000001-v0000-0002.tar")
    samples = list(wds.WebDataset(path, shardshuffle=False).decode().to_tuple("aug.npy", "lab.npy", "__key__"))
    assert [s[2] for s in samples] == ["v0000", "v0001", "v0002"]
    for view, (records, rows, _) in enumerate(samples):
        assert np.array_equal(records, toy.records[view, 8:16])
        opened = rows.view([("lo", "<f2"), ("step", "<f2"), ("q", "u1", (3,))])[:, 0]
        logits = opened["lo"][:, None] + opened["step"][:, None] * opened["q"].astype("f4")
        assert np.abs(logits - toy.logits[view, 8:16]).max() < 0.05
