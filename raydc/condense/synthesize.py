"""The synthesis loop: one for all decoupled methods.

Per step (SRe2L, arXiv 2306.13092, ``recover/data_synthesis.py``): a teacher of the pool looks at the images through the
augmentations, the weighted terms of the objective are summed, one Adam step on the pixels with a cosine learning rate,
pixels are clipped. What methods add is in the config: several teachers (G-VBSM), images of a class that begin one
group after another (DELT), stages of other resolutions (FADRM).
The last iterate is the result (the references track a "best" one and then overwrite it; specification, pitfall 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from raydc.condense.adam import Adam
from raydc.condense.augment import augment, by_lines, linear, lines
from raydc.condense.discrepancy import Look
from raydc.condense.draws import Draws, Pixels, Tensors, draw_teachers, named
from raydc.condense.execution import Recorder
from raydc.condense.group import Group
from raydc.condense.guide import Guide
from raydc.condense.schedule import cosine
from raydc.condense.stages import resized
from raydc.config.stages.synthesize import SynthesizeConfig


class Synthesis:
    """A launch: blocks under optimisation side by side, each what it would be alone.

    Networks look at all of them at once, while statistics, draws and objective are of each block: the gradient of the
    sum of their objectives is, for the pixels of a block, that of its own.

    Args:
        config: the method's axes.
        guides: the teachers of the pool, in order; the blocks live in the space of the first.
        start: float32 ``[B, 3, H, W]``, the first pixels, in that space, group after group.
        groups: the blocks; of equal size, and with images that begin at the same steps.
    """

    def __init__(
        self, config: SynthesizeConfig, guides: Sequence[Guide], start: torch.Tensor, groups: Sequence[Group]
    ) -> None:
        self.config, self.guides, self.space = config, list(guides), guides[0].space
        self.start, self.groups = start, list(groups)
        ways = {tuple(config.begins(index) for index in group.indices) for group in groups}
        if len(ways) > 1 or len(groups) > 1 and config.teachers.sampling == "random":
            raise ValueError("the blocks of a launch must be of one size, begin alike and have the same teachers")
        (self.begins,) = ways
        self.labels = [torch.tensor(group.classes, device=start.device) for group in groups]
        self.done = min(self.begins)
        self._enter(resized(start, config.stages.sizes[0]) if config.stages else start)

    def _enter(self, x: torch.Tensor) -> None:
        """Begin a stage: new pixels, a new optimiser, terms that remember nothing."""
        self.x = x.detach().clone().requires_grad_(True)
        self.adam = Adam(self.x, self.config.optimizer)
        for group in self.groups:
            group.begin(self.config)
        self._rows: dict[int, torch.Tensor] = {}
        self._recorders: dict[tuple[tuple[int, ...], int], Recorder[list[Tensors]]] = {}
        if self._recorded:
            self._recordable()

    @property
    def _recorded(self) -> bool:
        return self.guides[0].execution.how == "graph"

    def _recordable(self) -> None:
        """Refuse what cannot be recorded.

        Raises:
            ValueError: a term or an augmentation that asks the device or the host for something at every step.
        """
        terms = [use for use, (_, term) in self.groups[0].terms.items() if not term.recordable]
        if terms or not linear(self.config.augment):
            which = ", ".join(terms) or "an augmentation that is more than moving and blending"
            raise ValueError(f"a step with {which} cannot be recorded as a graph. Choose another engine.execution")

    def step(self) -> None:
        """Take one optimisation step."""
        config, t = self.config, self.done
        if config.stages and t and config.stage(t) != config.stage(t - 1):
            self._next_stage(config.stage(t))
        draws = self.draws()
        said = self._replay(draws) if self._recorded else self._advance(draws, draws.lr, self._seen(draws), draws.terms)
        if t % config.log_every == 0 or t == config.steps - 1:
            for group, terms in zip(self.groups, said, strict=True):
                group.history.add(t, terms)
        self.done = t + 1

    def gradient(self) -> tuple[torch.Tensor, list[Tensors]]:
        """The gradient of the next step by the pixels, like them, and the unweighted terms of each block."""
        draws = self.draws()
        if not self._recorded:
            return self._gradient(draws, self._seen(draws), draws.terms)
        inputs = {name: value.to(self.x.device) for name, value in self._inputs(draws).items()}
        return self._gradient(draws, self._moved(inputs), inputs)

    def draws(self) -> Draws:
        """What chance and schedule say of the next step."""
        config, t = self.config, self.done
        keys = tuple(group.key.child("step", t) for group in self.groups)
        places = draw_teachers(config.teachers.sampling, len(self.guides), keys[0], t)
        terms = {
            named(n, place, use): drawn
            for n, (group, key) in enumerate(zip(self.groups, keys, strict=True))
            for place in places
            for use, drawn in group.draw(self.guides[place].layers, key).items()
        }
        moving = tuple(n for n, begin in enumerate(self.begins) if begin <= t)
        return Draws(t, keys, places, moving, config.optimizer.lr * cosine(t, config.steps), terms)

    def _seen(self, draws: Draws) -> Sequence[Pixels]:
        """The augmentations of a step, of each block."""
        how, steps = self.config.augment, self.config.steps
        return [partial(augment, configs=how, key=key, step=draws.step, steps=steps) for key in draws.keys]

    def _advance(self, draws: Draws, lr: float | torch.Tensor, seen: Sequence[Pixels], drawn: Tensors) -> list[Tensors]:
        """Move the pixels; the unweighted terms of each block where they were."""
        self.x.grad, said = self._gradient(draws, seen, drawn)
        self.adam.step(lr)
        if self.config.clamp:
            with torch.no_grad():
                self.space.clamp_(self.x)
        return said

    def _replay(self, draws: Draws) -> list[Tensors]:
        """The same, with all that changes as numbers that are copied to the device ahead of it."""
        self._next = draws

        def advance(inputs: Tensors) -> list[Tensors]:
            return self._advance(self._next, inputs["lr"], self._moved(inputs), inputs)

        recorder = self._recorders.setdefault((draws.places, len(draws.moving)), Recorder(advance, self.x.device))
        return recorder(self._inputs(draws))

    def _inputs(self, draws: Draws) -> Tensors:
        """All that changes from step to step, on the host."""
        how, size = self.config.augment, (int(self.x.shape[2]), int(self.x.shape[3]))
        moves = [lines(how, key, len(draws.moving), size, draws.step, self.config.steps) for key in draws.keys]
        rows, columns = (torch.from_numpy(np.stack(along)) for along in zip(*moves, strict=True))
        return {"lr": torch.tensor(draws.lr), "rows": rows, "columns": columns, **draws.terms}

    def _moved(self, inputs: Tensors) -> Sequence[Pixels]:
        """The augmentations of a step, as matrices."""
        # What the network takes in fp16 may come in fp16; bf16 would blur the weights of a blend.
        half = torch.float16 if self.guides[0].execution.precision == "fp16" else None
        moves = zip(inputs["rows"], inputs["columns"], strict=True)
        return [partial(by_lines, rows=rows, columns=columns, dtype=half) for rows, columns in moves]

    def _gradient(self, draws: Draws, seen: Sequence[Pixels], drawn: Tensors) -> tuple[torch.Tensor, list[Tensors]]:
        found, said = torch.zeros_like(self.x), [Tensors() for _ in self.groups]
        for place in draws.places:
            judged = self._look(place, draws, seen, drawn)
            objectives = [group.objective(terms) for group, terms in zip(self.groups, judged, strict=True)]
            scale = self.guides[place].execution.loss_scale
            (pulled,) = torch.autograd.grad(torch.stack(objectives).sum() * scale, [self.x])
            found += pulled / (scale * len(draws.places))
            for kept, terms in zip(said, judged, strict=True):
                for use, value in terms.items():
                    kept[use] = kept.get(use, 0.0) + value.detach() / len(draws.places)
        return found, said

    def _look(self, place: int, draws: Draws, seen: Sequence[Pixels], drawn: Tensors) -> list[Tensors]:
        """The unweighted terms of each block in the eyes of one teacher."""
        guide, count = self.guides[place], len(self.groups)
        rows = self._moving(draws)
        pixels = [x if rows is None else x[rows] for x in self.x.chunk(count)]
        views = [see(x) for see, x in zip(seen, pixels, strict=True)]
        wanted = self.groups[0].wanted(guide.layers)
        logits, taps = guide.look(views[0] if count == 1 else torch.cat(views), self.space, wanted, count)

        def look(n: int, logits: torch.Tensor) -> Look:
            def answer(pixels: torch.Tensor) -> torch.Tensor:
                with torch.no_grad():
                    return guide.logits(seen[n](pixels), self.space)

            group, view = self.groups[n], views[n]
            labels = self.labels[n] if rows is None else self.labels[n][rows]
            classes = tuple(group.classes[image] for image in draws.moving)
            names = {use: named(n, place, use) for use in group.terms}
            own = {use: drawn[name].to(view.device) for use, name in names.items() if name in drawn}
            return Look(
                pixels[n], rows, view, labels, classes, logits, taps[n], own, guide, place, draws.keys[n], answer
            )

        return [self.groups[n].judge(look(n, part)) for n, part in enumerate(logits.chunk(count))]

    def _moving(self, draws: Draws) -> torch.Tensor | None:
        """The images of a block that have begun, int64 on the device; None: all."""
        count = len(draws.moving)
        if count == len(self.begins):
            return None
        if count not in self._rows:
            self._rows[count] = torch.tensor(draws.moving, device=self.x.device)
        return self._rows[count]

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
        """The images as they will be stored, uint8 ``[B, 3, H, W]`` on the CPU, block after block."""
        return self.space.to_uint8(self.x)

    def state(self) -> Tensors:
        """A copy of what the next step depends on: pixels, Adam's moments, the terms' memory; and the histories."""
        own = {f"{n}.{k}": v for n, group in enumerate(self.groups) for k, v in group.state().items()}
        return {
            "x": self.x.detach().clone(),
            "exp_avg": self.adam.exp_avg.clone(),
            "exp_avg_sq": self.adam.exp_avg_sq.clone(),
            "adam_steps": torch.tensor(int(self.adam.steps)),
            "done": torch.tensor(self.done),
            **own,
        }

    def restore(self, state: Tensors) -> None:
        """Go on from a state of the same launch."""
        self._enter(state["x"].to(self.x.device))
        self.done = int(state["done"])
        self.adam.steps.fill_(float(state["adam_steps"]))
        self.adam.exp_avg.copy_(state["exp_avg"])
        self.adam.exp_avg_sq.copy_(state["exp_avg_sq"])
        for n, group in enumerate(self.groups):
            own = {k.removeprefix(f"{n}."): v for k, v in state.items() if k.startswith(f"{n}.")}
            group.restore(own, self.x.device)


def snapshot_steps(steps: int, count: int) -> list[int]:
    """The steps to keep a picture of: the start, then ``count`` of them, evenly on a log scale, the last included."""
    if count == 0 or steps == 0:
        return [0] if count else []
    exponents = [i / max(1, count - 1) for i in range(count)] if count > 1 else [1.0]
    return sorted({0, *(round(steps**e) for e in exponents)})
