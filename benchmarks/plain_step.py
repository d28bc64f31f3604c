"""A synthesis step as the published code writes it: modules with hooks, one Python step after another, fp32.

It is here to be compared with, in our own words (SRe2L ``recover/data_synthesis.py`` and ``recover/utils.py``, G-VBSM
and EDC ``recover``): every hook reduces its layer's input by itself, tiles are cut from an enlarged map, every norm is
a term of a Python sum, Adam is not fused, and the pixels are cloned after the step.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from raydc.condense.augment import augment
from raydc.condense.guide import Guide
from raydc.condense.moments import Moments
from raydc.condense.schedule import cosine
from raydc.config.axes.discrepancy import Flatness, Matching
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.keys import Key


class Hook:
    """One layer's part of a matching term."""

    def __init__(self, module: nn.Module, term: Matching, weight: float, targets: list[tuple[float, Moments]]) -> None:
        self.term, self.weight, self.targets = term, weight, targets
        self.kept: dict[str, torch.Tensor] = {}
        self.distance: Any = 0.0
        self.silent, self.visits = False, 0
        module.register_forward_hook(self.look)

    def look(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        """Take the statistics of a pass and their distance."""
        if self.silent:
            return
        x, self.distance, self.visits = inputs[0], 0.0, self.visits + 1
        channels = x.shape[1]
        now = {
            "mean": x.mean([0, 2, 3]),
            "var": x.permute(1, 0, 2, 3).contiguous().view(channels, -1).var(1, unbiased=False),
        }
        side = getattr(self.term, "tile", 0)
        if side:
            rows, columns = (-(-length // side) for length in x.shape[2:])
            up = F.interpolate(x, size=(rows * side, columns * side), mode="bilinear")
            cut = up.unfold(2, side, side).unfold(3, side, side).permute(2, 3, 0, 1, 4, 5).reshape(rows * columns, -1)
            now |= {"tile_mean": cut.mean(1), "tile_var": cut.var(1, unbiased=False)}
        for name, value in now.items():
            averaged = self._averaged(name, value)
            for share, target in self.targets:
                self.distance = self.distance + share * torch.norm(getattr(target, name) - averaged, 2)

    def _averaged(self, name: str, value: torch.Tensor) -> torch.Tensor:
        rule = self.term.average
        if rule is None:
            return value
        kept = rule.decay * self.kept.get(name, 0.0) + (1 - rule.decay) * value.detach()
        self.kept[name] = kept
        if rule.bias_correct:
            kept = kept / (1 - rule.decay**self.visits)
        return kept + value - value.detach()


class PlainStep:
    """The same block, teachers and draws as a ``Synthesis`` is given."""

    def __init__(
        self, config: SynthesizeConfig, guides: Sequence[Guide], start: torch.Tensor, labels: Sequence[int], key: Key
    ) -> None:
        self.config, self.guides, self.key = config, guides, key
        self.x, self.labels = start.clone().requires_grad_(True), torch.tensor(labels, device=start.device)
        self.adam = torch.optim.Adam([self.x], lr=config.optimizer.lr, betas=config.optimizer.betas, foreach=False)
        self.networks = [copy.deepcopy(guide.network) for guide in guides]
        self.hooks = [self._hooks(g, n, tuple(labels)) for g, n in zip(guides, self.networks, strict=True)]
        self.flat = next((t for t in config.objective if isinstance(t, Flatness)), None)
        self.average: torch.Tensor | None = None
        self.done = 0

    def _hooks(self, guide: Guide, network: nn.Module, labels: tuple[int, ...]) -> list[Hook]:
        modules, hooks = dict(network.named_modules()), []
        for term in self.config.objective:
            if not isinstance(term, Matching):
                continue
            kind = {"bn_statistics": "bn", "conv_statistics": "conv"}[term.use]
            own = [layer for layer in guide.layers if layer.kind == kind]
            for n, layer in enumerate(own):
                targets = []
                if term.category < 1 and kind == "bn":
                    targets.append((1 - term.category, layer.running))
                elif term.category < 1:
                    targets.append((1 - term.category, guide.statistics.of_all(self.x.device)[layer.name]))
                if term.category > 0:
                    found = guide.statistics.of_classes(labels, term.moment, self.x.device)
                    targets.append((term.category, found[layer.name]))
                weight = term.weight * (term.first_multiplier if n == 0 else 1.0)
                hooks.append(Hook(modules[layer.name], term, weight, targets))
        return hooks

    def gradient(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The gradient of the next step."""
        self.adam.zero_grad()
        loss = self._loss()
        loss.backward()
        return self.x.grad.clone(), {"loss": loss.detach()}

    def step(self) -> None:
        """Take one step."""
        for group in self.adam.param_groups:
            group["lr"] = self.config.optimizer.lr * cosine(self.done, self.config.steps)
        self.adam.zero_grad()
        loss = self._loss()
        loss.backward()
        self.adam.step()
        space = self.guides[0].space
        for channel in range(3):
            low, high = float(space.low[channel]), float(space.high[channel])
            self.x.data[:, channel] = torch.clamp(self.x.data[:, channel], low, high)
        self.best = self.x.data.clone()
        self.said = loss.item()
        self.done += 1

    def _loss(self) -> torch.Tensor:
        t = self.done
        place = t % len(self.guides) if self.config.teachers.sampling == "round_robin" else 0
        network, hooks, key = self.networks[place], self.hooks[place], self.key.child("step", t)
        view = augment(self.x, self.config.augment, key, t, self.config.steps)
        logits = network(view)
        loss = F.cross_entropy(logits, self.labels)
        loss = loss + sum(hook.weight * hook.distance for hook in hooks)
        return loss if self.flat is None else loss + self.flat.weight * self._flatness(logits, key, hooks, network)

    def _flatness(self, logits: torch.Tensor, key: Key, hooks: list[Hook], network: nn.Module) -> torch.Tensor:
        now, decay, heat = self.x.detach(), self.flat.decay, self.flat.temperature
        self.average = now.clone() if self.average is None else decay * self.average + (1 - decay) * now
        for hook in hooks:
            hook.silent = True
        with torch.no_grad():
            seen = augment(self.average, self.config.augment, key, self.done, self.config.steps)
            kept = F.log_softmax(network(seen) / heat, 1)
        for hook in hooks:
            hook.silent = False
        ours = F.log_softmax(logits / heat, 1)
        return (ours.exp() * (ours - kept)).sum(1).mean()
