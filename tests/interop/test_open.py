"""``raydc.open`` in the three lines of the README, and what else a PyTorch user would try first."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import torch
import toys
from timm import create_model

import raydc


def test_three_lines_train_a_student(toy: toys.Toy) -> None:
    torch.manual_seed(0)
    student = create_model("test_resnet", num_classes=3)
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    losses = []
    data = raydc.open(toy.folder.url)
    for epoch in range(8):
        for x, _, _, logits in data.loader(epoch, batch=8):
            log_p, q = torch.log_softmax(student(x), 1), torch.softmax(logits, 1)
            loss = torch.nn.functional.kl_div(log_p, q, reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert sum(losses[-6:]) < sum(losses[:6])


def test_it_is_a_map_style_dataset(toy: toys.Toy) -> None:
    loader = torch.utils.data.DataLoader(raydc.open(toy.folder.url), batch_size=5)  # type: ignore[arg-type]
    images, labels, records, logits = next(iter(loader))
    assert np.array_equal(images.numpy(), toy.images[:5]) and labels.tolist() == toy.labels[:5].tolist()
    assert records.shape == (5, 12) and logits.shape == (5, 3)


def test_reading_needs_neither_torch_nor_ray(toy: toys.Toy) -> None:
    code = (
        "import sys, raydc\n"
        f"data = raydc.open({toy.folder.url!r})\n"
        "assert sum(len(b.labels) for b in data.batches(0, 8)) == 23\n"
        "assert not {'torch', 'ray', 'timm'} & set(sys.modules), sorted({'torch', 'ray', 'timm'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
