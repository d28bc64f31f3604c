"""How much a network computes, counted on the meta device: nothing is allocated, nothing is run."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from raydc.config.stages.networks import Arch
from raydc.teachers.networks import skeleton


def forward_flop(arch: Arch, classes: int, image_size: int) -> int:
    """Operations of one image's forward pass, a multiply-add counted as two, pointwise ones left out."""
    network = skeleton(arch, classes, image_size).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, image_size, image_size, device="meta"))
    return int(counter.get_total_flops())
