"""The synthesis loop: one for all decoupled methods.

Per step (SRe2L, arXiv 2306.13092, ``recover/data_synthesis.py``): a teacher of the pool looks at the images through the
augmentations, the weighted terms of the objective are summed, one Adam step on the pixels with a cosine learning rate,
pixels are clipped. What methods add is in the config: several teachers (G-VBSM), images of a class that begin one
group after another (DELT), stages of other resolutions (FADRM).
The last iterate is the result (the references track a "best" one and then overwrite it; specification, pitfall 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from raydc.condense.augment import augment
from raydc.condense.discrepancy import DISCREPANCIES, Look, Term
from raydc.condense.guide import Guide
from raydc.condense.history import History
from raydc.condense.schedule import cosine
from raydc.condense.stages import resized
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.keys import Key


class Synthesis:
    """One block under optimisation.

    Args:
        config: the method's axes.
        guides: the teachers of the pool, in order; the block lives in the space of the first.
        start: float32 ``[B, 3, H, W]``, the first pixels, in that space.
        labels: the class of each image.
        indices: of each image within its class; they say who begins when.
        key: the block's key; step t draws from ``key.child("step", t)`` alone, so a block resumes at any step.
    """

    def __init__(
        self,
        config: SynthesizeConfig,
        guides: Sequence[Guide],
        start: torch.Tensor,
        labels: Sequence[int],
        indices: Sequence[int],
        key: Key,
    ) -> None:
        self.config, self.guides, self.space = config, list(guides), guides[0].space
        self.start, self.key = start, key
        self.classes, self.begins = tuple(labels), [config.begins(index) for index in indices]
        self.labels = torch.tensor(self.classes, device=start.device)
        self.done = min(self.begins)
        self.history = History()
        self._enter(resized(start, config.stages.sizes[0]) if config.stages else start)

    def _enter(self, x: torch.Tensor) -> None:
        """Begin a stage: new pixels, a new optimiser, terms that remember nothing."""
        self.x = x.detach().clone().requires_grad_(True)
        adam = self.config.optimizer
        self.adam = torch.optim.Adam([self.x], lr=adam.lr, betas=adam.betas, eps=adam.eps, fused=self.x.is_cuda)
        self.terms: dict[str, tuple[float, Term]] = {
            c.use: (c.weight, DISCREPANCIES[c.use](c)) for c in self.config.objective if c.weight > 0
        }

    def step(self) -> None:
        """Take one optimisation step."""
        config, t = self.config, self.done
        if config.stages and t and config.stage(t) != config.stage(t - 1):
            self._next_stage(config.stage(t))
        for group in self.adam.param_groups:
            group["lr"] = config.optimizer.lr * cosine(t, config.steps)
        self.x.grad, said = self.gradient()
        self.adam.step()
        if config.clamp:
            with torch.no_grad():
                self.space.clamp_(self.x)
        if t % config.log_every == 0 or t == config.steps - 1:
            self.history.add(t, said)
        self.done = t + 1

    def gradient(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The gradient of the next step by the pixels, like them, and the unweighted terms of its objective."""
        t, found = self.done, torch.zeros_like(self.x)
        key, places = self.key.child("step", t), self._places(t)
        said: dict[str, torch.Tensor] = {}
        for place in places:
            terms = self._look(place, key, t)
            objective = torch.stack([weight * terms[use] for use, (weight, _) in self.terms.items()]).sum()
            scale = self.guides[place].execution.loss_scale
            (pulled,) = torch.autograd.grad(objective * scale, [self.x])
            found += pulled / (scale * len(places))
            for use, value in terms.items():
                said[use] = said.get(use, 0.0) + value.detach() / len(places)
        return found, said

    def _places(self, step: int) -> list[int]:
        """Which teachers of the pool look at a step."""
        count = len(self.guides)
        match self.config.teachers.sampling:
            case "round_robin":
                return [step % count]
            case "random":
                return [int(self.key.child("step", step, "teacher").integers(0, count))]
            case "all":
                return list(range(count))
        return [0]

    def _look(self, place: int, key: Key, t: int) -> dict[str, torch.Tensor]:
        """The unweighted terms in the eyes of one teacher."""
        config, guide = self.config, self.guides[place]
        moving = [n for n, begin in enumerate(self.begins) if begin <= t]
        rows = None if len(moving) == len(self.begins) else torch.tensor(moving, device=self.x.device)

        def seen(pixels: torch.Tensor) -> torch.Tensor:
            return augment(pixels, config.augment, key, t, config.steps)

        def answer(pixels: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return guide.logits(seen(pixels), self.space)

        pixels = self.x if rows is None else self.x[rows]
        view = seen(pixels)
        logits, taps = guide.look(view, self.space, self._wanted(guide))
        labels = self.labels if rows is None else self.labels[rows]
        classes = self.classes if rows is None else tuple(self.classes[n] for n in moving)
        look = Look(pixels, rows, view, labels, classes, logits, taps, guide, place, key, answer)
        return {use: term(look) for use, (_, term) in self.terms.items()}

    def _wanted(self, guide: Guide) -> dict[int, int]:
        """The layers of a teacher that some term looks at, and the side of their tiles."""
        wanted: dict[int, int] = {}
        for _, term in self.terms.values():
            for position, tile in term.tap(guide.layers).items():
                wanted[position] = max(tile, wanted.get(position, 0))
        return wanted

    def _next_stage(self, stage: int) -> None:
        """Go to the resolution of a stage, and mix in some of the start (FADRM, arXiv 2506.24125)."""
        stages = self.config.stages
        if stages is None:
            return
        size, keep = stages.sizes[stage], stages.keep
        self._enter(keep * resized(self.x.detach(), size) + (1.0 - keep) * resized(self.start, size))

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
        """A copy of what the next step depends on: pixels, Adam's moments, the terms' memory; and the history."""
        x = self.x.detach()
        moments = self.adam.state.get(self.x) or {}
        remembered = {f"term.{use}.{k}": v for use, (_, term) in self.terms.items() for k, v in term.state().items()}
        return {
            "x": x.clone(),
            "exp_avg": moments.get("exp_avg", torch.zeros_like(x)).clone(),
            "exp_avg_sq": moments.get("exp_avg_sq", torch.zeros_like(x)).clone(),
            "adam_steps": torch.tensor(int(moments.get("step", 0))),
            "done": torch.tensor(self.done),
            **remembered,
            **self.history.state(),
        }

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from a state of the same block."""
        self._enter(state["x"].to(self.x.device))
        self.done = int(state["done"])
        self.adam.state[self.x] = {
            "step": torch.tensor(float(state["adam_steps"]), device=self.x.device if self.x.is_cuda else None),
            "exp_avg": state["exp_avg"].to(self.x.device).clone(),
            "exp_avg_sq": state["exp_avg_sq"].to(self.x.device).clone(),
        }
        for use, (_, term) in self.terms.items():
            prefix = f"term.{use}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            term.restore(own, self.x.device)
        self.history = History.of(state)


def snapshot_steps(steps: int, count: int) -> list[int]:
    """The steps to keep a picture of: the start, then ``count`` of them, evenly on a log scale, the last included."""
    if count == 0 or steps == 0:
        return [0] if count else []
    exponents = [i / max(1, count - 1) for i in range(count)] if count > 1 else [1.0]
    return sorted({0, *(round(steps**e) for e in exponents)})
