"""The synthesis loop: one for all decoupled methods.

Per step (SRe2L, arXiv 2306.13092, ``recover/data_synthesis.py``): look at the batch through the augmentations, sum
the weighted terms of the objective, one Adam step on the pixels with a cosine learning rate, clip to valid pixels.
The last iterate is the result (the references track a "best" one and then overwrite it; specification, pitfall 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from raydc.condense.augment import augment
from raydc.condense.discrepancy import DISCREPANCIES
from raydc.condense.schedule import cosine
from raydc.condense.space import Space
from raydc.condense.taps import tapped
from raydc.config.schema import SynthesizeConfig
from raydc.keys import Key


@dataclass
class History:
    """Objective terms over steps, kept on the device until asked for: reading a number stalls the step."""

    steps: list[int] = field(default_factory=list)
    terms: dict[str, list[torch.Tensor | float]] = field(default_factory=dict)

    def add(self, step: int, terms: dict[str, torch.Tensor]) -> None:
        """Keep the unweighted terms of a step."""
        self.steps.append(step)
        for name, value in terms.items():
            self.terms.setdefault(name, []).append(value.detach())

    def plain(self) -> dict[str, list[float] | list[int]]:
        """The history as numbers, rounded to six digits so that they print alike everywhere."""
        numbers = {name: [float(f"{float(v):.6g}") for v in values] for name, values in self.terms.items()}
        return {"steps": list(self.steps), **numbers}


class Synthesis:
    """One block under optimisation.

    Args:
        config: the method's axes.
        network: the frozen teacher in eval mode; maps ``[B, 3, H, W]`` of the space to outputs.
        pick: maps the network's outputs to logits ``[B, K]`` over the label space.
        space: the teacher's normalised space.
        start: float32 ``[B, 3, H, W]``, the first pixels, in the space.
        labels: int64 ``[B]``.
        key: the block's key; step t draws from ``key.child("step", t)`` alone, so a block resumes at any step.
    """

    def __init__(
        self,
        config: SynthesizeConfig,
        network: nn.Module,
        pick: Callable[[torch.Tensor], torch.Tensor],
        space: Space,
        start: torch.Tensor,
        labels: torch.Tensor,
        key: Key,
    ) -> None:
        self.config, self.network, self.pick, self.space = config, network, pick, space
        self.x = start.clone().requires_grad_(True)
        self.labels, self.key = labels, key
        self.done = 0
        self.history = History()
        adam = config.optimizer
        self.adam = torch.optim.Adam([self.x], lr=adam.lr, betas=adam.betas, eps=adam.eps, fused=self.x.is_cuda)
        self.terms = [term for term in config.objective if term.weight > 0]

    def step(self) -> None:
        """Take one optimisation step."""
        config, t = self.config, self.done
        for group in self.adam.param_groups:
            group["lr"] = config.optimizer.lr * cosine(t, config.steps)
        self.adam.zero_grad(set_to_none=True)
        with tapped(self.network) as taps:
            view = augment(self.x, config.augment, self.key.child("step", t), t, config.steps)
            logits = self.pick(self.network(view))
            terms: dict[str, torch.Tensor] = {}
            for c in self.terms:
                terms[c.use] = DISCREPANCIES[c.use](c, logits, self.labels, taps)
        torch.stack([c.weight * terms[c.use] for c in self.terms]).sum().backward()
        self.adam.step()
        if config.clamp:
            with torch.no_grad():
                self.space.clamp_(self.x)
        if t % config.log_every == 0 or t == config.steps - 1:
            self.history.add(t, terms)
        self.done = t + 1

    def run(self, observe: Callable[[Synthesis], bool]) -> bool:
        """Step to the end, or until ``observe``, called at the start and after every step, returns False.

        Returns:
            Whether the block is finished.
        """
        go_on = observe(self)
        while go_on and self.done < self.config.steps:
            self.step()
            go_on = observe(self)
        return self.done == self.config.steps

    def pixels(self) -> torch.Tensor:
        """The images as they will be stored, uint8 ``[B, 3, H, W]`` on the CPU."""
        return self.space.to_uint8(self.x)

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of what the next step depends on: pixels, Adam's moments, the step count; and the history so far."""
        x = self.x.detach()
        moments = self.adam.state.get(self.x) or {"exp_avg": torch.zeros_like(x), "exp_avg_sq": torch.zeros_like(x)}
        return {
            "x": x.clone(),
            "exp_avg": moments["exp_avg"].clone(),
            "exp_avg_sq": moments["exp_avg_sq"].clone(),
            "done": torch.tensor(self.done),
            "history_steps": torch.tensor(self.history.steps),
            **{f"history.{k}": torch.tensor([float(v) for v in vs]) for k, vs in self.history.terms.items()},
        }

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from a state of the same block."""
        with torch.no_grad():
            self.x.copy_(state["x"])
        self.done = int(state["done"])
        self.adam.state[self.x] = {
            "step": torch.tensor(float(self.done), device=self.x.device if self.x.is_cuda else None),
            "exp_avg": state["exp_avg"].to(self.x.device).clone(),
            "exp_avg_sq": state["exp_avg_sq"].to(self.x.device).clone(),
        }
        self.history = History(
            state["history_steps"].tolist(),
            {k.removeprefix("history."): list(v.tolist()) for k, v in state.items() if k.startswith("history.")},
        )


def snapshot_steps(steps: int, count: int) -> list[int]:
    """The steps to keep a picture of: the start, then ``count`` of them, evenly on a log scale, the last included."""
    if count == 0 or steps == 0:
        return [0] if count else []
    exponents = [i / max(1, count - 1) for i in range(count)] if count > 1 else [1.0]
    return sorted({0, *(round(steps**e) for e in exponents)})
