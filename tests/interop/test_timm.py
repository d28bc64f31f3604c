"""The published folder through timm's ``wds/`` reader, its loader and its training loop's parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import toys
from timm.data import create_dataset, create_loader

# webdataset leaves its files to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_reader_knows_size_and_classes(toy: toys.Toy, root: Path) -> None:
    data = create_dataset("wds/", root=str(root), split="train", is_training=False, batch_size=4)
    samples = [(image.size, target) for image, target in data]
    assert len(data) == 23 and [t for _, t in samples] == toy.labels.tolist() and samples[0][0] == (32, 32)


def test_jpeg_and_a_json_target(toy_jpg: toys.Toy) -> None:
    root = toy_jpg.folder.url
    data = create_dataset("wds/", root=root, split="train", is_training=False, batch_size=4, target_key="label")
    assert [t for _, t in data] == toy_jpg.labels.tolist()


def test_training_a_timm_network_with_timms_own_loader(root: Path) -> None:
    torch.manual_seed(0)
    data = create_dataset("wds/", root=str(root), split="train", is_training=True, batch_size=8)
    loader = create_loader(
        data, input_size=(3, 32, 32), batch_size=8, is_training=True, num_workers=1, use_prefetcher=False,
        no_aug=True, persistent_workers=False, pin_memory=False,
    )  # fmt: skip
    network = timm.create_model("test_resnet", num_classes=3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for epoch in range(6):
        data.set_epoch(epoch)
        for x, target in loader:
            assert x.shape[1:] == (3, 32, 32) and x.dtype == torch.float32
            loss = torch.nn.functional.cross_entropy(network(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert len(losses) >= 12 and sum(losses[-3:]) < 0.7 * sum(losses[:3])
