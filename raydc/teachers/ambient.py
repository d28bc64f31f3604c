"""The ambient state of torch that results depend on, held in two places: the generator, and the choice of kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from raydc.keys import Key


@contextmanager
def seeded(key: Key, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run code that draws from torch's global generator as a pure function of ``key``, and leave no trace.

    Torch's initialisers and its dropout layers take no generator, so the global one is the only way to give them
    keyed numbers. It is forked around the block and restored, so nothing else sees the seed. Every other draw of
    raydc comes from a :class:`Key` directly.
    """
    seed = int(key.integers(0, 1 << 32))
    device = torch.device(device)
    index = device.index if device.index is not None else (torch.cuda.current_device() if device.type == "cuda" else 0)
    with torch.random.fork_rng(devices=[index] if device.type == "cuda" else []):
        # Not torch.manual_seed: that would seed every accelerator too, also those whose state is not restored here.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


def pin(threads: int) -> None:
    """Fix what the bytes of a result depend on in this process: thread count, kernel choice, no TF32.

    A process of the engine calls this once, before its first tensor. Sums over threads are rounded by thread count,
    and cuDNN may pick another algorithm each time unless told not to.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
