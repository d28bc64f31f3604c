"""The published folder through Hugging Face ``datasets``, by the ``configs`` of its card. Skipped where absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toys

from raydc.store.export import export
from raydc.store.folder import Folder

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


def test_an_exported_data_set(toy_jpg: toys.Toy, tmp_path: Path) -> None:
    export(toy_jpg.folder, Folder(tmp_path / "out"), "huggingface", licence="cc-by-4.0")
    data = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["cls"] for row in data] == toy_jpg.labels.tolist() and data[0]["jpg"].size == (32, 32)
    from huggingface_hub import DatasetCard

    head = DatasetCard.load(tmp_path / "out/README.md").data.to_dict()
    assert head["license"] == "cc-by-4.0" and head["configs"][0]["default"]
