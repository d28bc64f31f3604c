"""Frozen toy networks with statistics of their own, and a term's look at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from raydc.condense.discrepancy import Look, Term
from raydc.condense.guide import Guide
from raydc.condense.moments import Moments, moments_of_groups, tiles
from raydc.condense.observer import Seen, layers
from raydc.condense.space import Space
from raydc.condense.statistics import Segment, Statistics
from raydc.keys import Key

PLAIN = Space((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
LOOK = Key(("look",))


def frozen(network: nn.Module, name: str = "net") -> nn.Module:
    """Fill weights and running statistics from a key, freeze, and set to eval mode."""
    for path, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        draw = torch.from_numpy(Key((name, path)).normal(*tensor.shape)).reshape(tensor.shape)
        fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 1
        if path.endswith("running_var"):
            draw = 0.5 + draw.abs()
        elif tensor.dim() == 1:
            draw = 0.2 * draw + (1.0 if path.endswith("weight") else 0.0)
        else:
            draw = draw * (2.0 / fan_in) ** 0.5
        tensor.copy_(draw)
    return network.eval().requires_grad_(False)


class TinyResNet(nn.Module):
    """A stem and one block. The shortcut's BatchNorm is registered last, as in torchvision, but runs first."""

    def __init__(self, classes: int = 5, width: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = nn.Sequential(nn.Conv2d(width, width, 1, stride=2, bias=False), nn.BatchNorm2d(width))
        self.fc = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        shortcut = self.downsample(x)
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)) + shortcut)
        return self.fc(x.mean(dim=(2, 3)))


class TinyMobile(nn.Module):
    """Depthwise, squeeze-and-excite and 1x1 convolutions, one BatchNorm."""

    def __init__(self, classes: int = 5, width: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.depth = nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width)
        self.squeeze = nn.Conv2d(width, width, 1)
        self.point = nn.Conv2d(width, width + 2, 1)
        self.fc = nn.Linear(width + 2, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depth(F.silu(self.norm(self.stem(x))))
        x = x * torch.sigmoid(self.squeeze(x.mean(dim=(2, 3), keepdim=True)))
        return self.fc(F.silu(self.point(x)).mean(dim=(2, 3)))


class TinyConvNet(nn.Module):
    """No BatchNorm at all."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.GroupNorm(6, 6)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.silu(self.norm(self.conv(x))).mean(dim=(2, 3)))


def pixels(count: int, side: int, name: str = "x", channels: int = 3) -> torch.Tensor:
    """Keyed noise, float32 ``[count, channels, side, side]``."""
    return torch.from_numpy(Key((name,)).normal(count, channels, side, side))


def guided(network: nn.Module, space: Space = PLAIN, statistics: Statistics | None = None) -> Guide:
    """A teacher whose outputs are the logits."""
    return Guide(network, lambda z: z, space, statistics)


def invented(network: nn.Module, side: int, tile: int, classes: int, name: str = "statistics") -> Statistics:
    """Keyed numbers in the place of statistics, for a network that looks at pictures of this side."""
    found, sizes, handles = layers(network), {}, []
    for layer in found:
        handles.append(
            layer.module.register_forward_pre_hook(lambda _, x, n=layer.name: sizes.update({n: x[0].shape[1:]}))
        )
    network(torch.zeros(1, 3, side, side, dtype=next(network.parameters()).dtype))
    for handle in handles:
        handle.remove()
    counts = {a.name: tiles(*sizes[a.name][1:], tile) if a.kind == "conv" else 0 for a in found}
    segments = [Segment(a.name, sizes[a.name][0], counts[a.name]) for a in found]
    draw = torch.from_numpy(Key((name,)).normal(1 + classes, 3, sum(s.channels + s.tiles for s in segments)))
    draw[:, 1:] = 0.3 + draw[:, 1:].abs()
    return Statistics(segments, tile, draw[0], draw[1:])


def look_at(
    term: Term,
    guide: Guide,
    x: torch.Tensor,
    classes: Sequence[int] | None = None,
    *,
    key: Key = LOOK,
    place: int = 0,
    rows: torch.Tensor | None = None,
    seen: Callable[[torch.Tensor], torch.Tensor] = lambda v: v,
) -> Look:
    """One look at pixels ``[B, 3, S, S]`` for one term, as the loop makes it; by default all images are of class 0."""
    own = tuple(classes) if classes is not None else (0,) * len(x)
    view = seen(x)
    logits, (taps,) = guide.look(view, PLAIN, term.tap(guide.layers))

    def answer(pixels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return guide.logits(seen(pixels), PLAIN)

    drawn = term.draw(guide.layers, key)
    draws = {} if drawn is None else {term.config.use: torch.from_numpy(drawn)}
    return Look(x, rows, view, torch.tensor(own), own, logits, taps, draws, guide, place, key, answer)


def moments(x: torch.Tensor, tile: int = 0) -> Moments:
    """The moments of a batch ``[B, C, H, W]`` that is one group."""
    return moments_of_groups(x, 1, tile).row(0)


def at(seen: Seen, position: int) -> Moments:
    """The moments of one layer of those that were seen."""
    place = seen.positions.index(position)
    lengths = {kind: [pair["tile" in kind] for pair in seen.lengths] for kind in Moments._fields}
    values = seen.batch._asdict().items()
    return Moments(**{kind: None if v is None else v.split(lengths[kind])[place] for kind, v in values})


def judged(term: Term, guide: Guide | nn.Module, x: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
    """The term of one look."""
    guide = guide if isinstance(guide, Guide) else guided(guide)
    return term(look_at(term, guide, x, *args, **kwargs))  # type: ignore[arg-type]


def order(count: int) -> torch.Tensor:
    """A keyed order of images that is not the identity."""
    return torch.from_numpy(np.roll(Key(("order",)).permutation(count), 1))
