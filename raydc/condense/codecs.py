"""The codecs of ``raydc/labels/codecs`` on tensors: the same bytes and the same logits, to the bit, on any device.

A trainer moves encoded rows to its device and opens them there, a fourth to a hundredth of the bytes; a labeller
stores what its device has made without a copy of the logits. Formats and checks are those of NumPy's side; here rows
are known to be whole and logits to be finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from raydc.labels.codecs import Codec
from raydc.labels.codecs.affine import Int4, Int8
from raydc.labels.codecs.top_k import LEVELS, MAX_CLASSES, TopK

Encode = Callable[[torch.Tensor, Codec], torch.Tensor]
Decode = Callable[[torch.Tensor, Codec, int, float], torch.Tensor]


def decode(rows: torch.Tensor, codec: Codec, classes: int, temperature: float = math.inf) -> torch.Tensor:
    """Rows uint8 ``[N, row_bytes]`` to float32 ``[N, classes]`` on their device; as ``codec.decode``."""
    return _DECODERS[codec.name](rows, codec, classes, temperature)


def _fp16(rows: torch.Tensor, codec: Codec, classes: int, temperature: float) -> torch.Tensor:
    return _halves(rows).float()


def _int8(rows: torch.Tensor, codec: Codec, classes: int, temperature: float) -> torch.Tensor:
    head = _halves(rows[:, :4])
    return _dequantize(head[:, 0], head[:, 1], rows[:, 4:])


def _int4(rows: torch.Tensor, codec: Codec, classes: int, temperature: float) -> torch.Tensor:
    head, packed = _halves(rows[:, :4]), rows[:, 4:]
    q = torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)[:, :classes]
    return _dequantize(head[:, 0], head[:, 1], q)


def _top_k(rows: torch.Tensor, codec: Codec, classes: int, temperature: float) -> torch.Tensor:
    k = codec.settings["k"]
    lo, step, mean, variance = _halves(rows[:, :8]).unbind(1)
    pairs = rows[:, 8 : 8 + 2 * k].reshape(len(rows), k, 2).long()
    kept = _dequantize(lo, step, rows[:, 8 + 2 * k :])
    level = torch.minimum(mean.float() + variance.float() * torch.tensor(0.5 / temperature).to(rows.device), lo.float())
    return level[:, None].repeat(1, classes).scatter_(1, pairs[..., 0] + 256 * pairs[..., 1], kept)


_DECODERS: dict[str, Decode] = {"fp16": _fp16, Int8.name: _int8, Int4.name: _int4, TopK.name: _top_k}


def encode(logits: torch.Tensor, codec: Codec) -> torch.Tensor:
    """Finite logits float32 ``[N, K]`` within the range of half precision to uint8 ``[N, row_bytes]``."""
    return _ENCODERS[codec.name](logits, codec)


def _to_fp16(logits: torch.Tensor, codec: Codec) -> torch.Tensor:
    return _bytes(logits.half())


def _to_int8(logits: torch.Tensor, codec: Codec) -> torch.Tensor:
    head, q = _quantize(logits, Int8.levels)
    return torch.cat([_bytes(head), q], dim=1)


def _to_int4(logits: torch.Tensor, codec: Codec) -> torch.Tensor:
    head, q = _quantize(logits, Int4.levels)
    if q.shape[1] % 2:
        q = torch.cat([q, torch.zeros_like(q[:, :1])], dim=1)
    return torch.cat([_bytes(head), q[:, 0::2] | q[:, 1::2] << 4], dim=1)


def _to_top_k(logits: torch.Tensor, codec: Codec) -> torch.Tensor:
    k = codec.settings["k"]
    order = _largest(logits, k)
    head, q = _quantize(logits.gather(1, order), LEVELS)
    left = torch.ones_like(logits, dtype=torch.bool).scatter_(1, order, False)
    none = torch.zeros_like(logits[:, :1])
    rest = (logits[left].view(len(logits), -1) if logits.shape[1] > k else none).double()
    mean = rest.mean(1)
    spread = (rest - mean[:, None]).square().mean(1).clamp(max=torch.finfo(torch.float16).max)
    numbers = torch.stack([head[:, 0], head[:, 1], mean.half(), spread.half()], dim=1)
    index = torch.stack([order & 255, order >> 8], dim=2).to(torch.uint8).flatten(1)
    return torch.cat([_bytes(numbers), index, q], dim=1)


_ENCODERS: dict[str, Encode] = {"fp16": _to_fp16, Int8.name: _to_int8, Int4.name: _to_int4, TopK.name: _to_top_k}


def _largest(z: torch.Tensor, k: int) -> torch.Tensor:
    """As :func:`raydc.labels.codecs.top_k.largest`."""
    bits = (z + 0.0).view(torch.int32).long()
    below = MAX_CLASSES - 1 - torch.arange(z.shape[1], device=z.device)
    ranked = (bits ^ (bits >> 31 & 0x7FFFFFFF)) * MAX_CLASSES + below
    return MAX_CLASSES - 1 - (ranked.topk(k, dim=1).values & (MAX_CLASSES - 1))


def _halves(rows: torch.Tensor) -> torch.Tensor:
    """Bytes ``[N, 2 n]`` as half precision ``[N, n]``."""
    # A copy, because one row counts as contiguous with any stride, and an odd one can be no stride of halves.
    return rows.clone(memory_format=torch.contiguous_format).view(torch.float16)


def _bytes(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(torch.uint8)


def _dequantize(lo: torch.Tensor, step: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return lo.float()[:, None] + step.float()[:, None] * q.float()


def _quantize(z: torch.Tensor, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Offset and step float16 ``[N, 2]``, and whole numbers uint8 ``[N, K]``."""
    lo = _half(z.amin(1), up=False)
    # By a tensor: by a number CUDA multiplies with the reciprocal, whose last bit may be another.
    step = _half((z.amax(1) - lo.float()) / torch.tensor(float(levels), device=z.device), up=True)
    divisor = torch.where(step > 0, step, torch.ones_like(step)).float()
    q = ((z - lo.float()[:, None]) / divisor[:, None]).round().clamp(0, levels)
    return torch.stack([lo, step], dim=1), q.to(torch.uint8)


def _half(values: torch.Tensor, up: bool) -> torch.Tensor:
    """Round float32 to half precision towards one side: one code up or down where the nearest lies on the other."""
    rounded = values.half()
    wrong = rounded.float() < values if up else rounded.float() > values
    bits = rounded.view(torch.int16)
    # Codes of negative numbers grow as the numbers fall; those around zero are the smallest of either sign.
    away = (rounded > 0) if up else (rounded < 0)
    next_code = torch.where(away, bits + 1, bits - 1)
    around = torch.full_like(bits, 1 if up else -32767)
    return torch.where(wrong, torch.where(rounded == 0, around, next_code), bits).view(torch.float16) + 0.0
