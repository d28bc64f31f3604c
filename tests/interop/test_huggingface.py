"""The published folder through Hugging Face ``datasets``, by the ``configs`` of its card. Skipped where absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toys

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore")


def test_images_are_the_default_configuration(toy: toys.Toy, root: Path, tmp_path: Path) -> None:
    data = datasets.load_dataset(str(root), split="train", cache_dir=str(tmp_path))
    assert len(data) == 23 and {"png", "cls", "json"} <= set(data.column_names)
    assert [row["cls"] for row in data] == toy.labels.tolist()
    assert np.array_equal(np.asarray(data[5]["png"].convert("RGB")), toy.images[5])


def test_labels_are_the_other(toy: toys.Toy, root: Path, tmp_path: Path) -> None:
    data = datasets.load_dataset(str(root), "labels", split="train", cache_dir=str(tmp_path))
    assert len(data) == 9 and np.array_equal(np.asarray(data[1]["aug.npy"]), toy.records[1, :8])
