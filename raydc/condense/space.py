"""The space that pixels are optimised in: the teacher's normalised space."""

from __future__ import annotations

import torch


class Space:
    """Affine map between pixels in [0, 1] and a network's input, channel by channel.

    Adam's step length and the first noise are measured in this space (SRe2L ``recover/data_synthesis.py``), so it is
    part of the method. With mean 0 and std 1 it is the pixel space itself, the rule for ImageNet-21K teachers that
    were trained without normalisation (CDA ``recover_cda_in21k.py``).
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device | str = "cpu") -> None:
        self._constants = (tuple(mean), tuple(std))  # on the host: comparing tensors would stall a device
        self.mean = torch.tensor(mean, device=device).view(-1, 1, 1)
        self.std = torch.tensor(std, device=device).view(-1, 1, 1)
        self.low = (0.0 - self.mean) / self.std
        self.high = (1.0 - self.mean) / self.std

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map float pixels in [0, 1], ``[..., C, H, W]``, into the space."""
        return (pixels - self.mean) / self.std

    def adopt(self, x: torch.Tensor, other: Space) -> torch.Tensor:
        """Map ``[..., C, H, W]`` of another space into this one."""
        if self._constants == other._constants:
            return x
        return (x * (other.std / self.std)) + (other.mean - self.mean) / self.std

    def clamp_(self, x: torch.Tensor) -> torch.Tensor:
        """Clip ``x`` in place to what valid pixels map to."""
        return x.clamp_(self.low.to(x.dtype), self.high.to(x.dtype))

    def to_uint8(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[..., C, H, W]`` back to stored pixels, uint8 on the CPU, rounded to nearest.

        The references cast to uint8, which truncates and darkens by half a level (specification, pitfall 10).
        """
        pixels = (x.detach().float() * self.std + self.mean).clamp(0.0, 1.0)
        return (pixels * 255.0).round().to(torch.uint8).cpu()
