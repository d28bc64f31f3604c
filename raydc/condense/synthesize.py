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

from raydc.condense.adam import Adam
from raydc.condense.augment import augment, by_lines, linear, lines
from raydc.condense.discrepancy import DISCREPANCIES, Look, Term
from raydc.condense.draws import Draws, Pixels, Tensors, draw_teachers
from raydc.condense.execution import Recorder
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
        self.adam = Adam(self.x, self.config.optimizer)
        self.terms: dict[str, tuple[float, Term]] = {
            c.use: (c.weight, DISCREPANCIES[c.use](c)) for c in self.config.objective if c.weight > 0
        }
        self._rows: dict[int, torch.Tensor] = {}
        self._recorders: dict[tuple[tuple[int, ...], int], Recorder] = {}
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
        terms = [use for use, (_, term) in self.terms.items() if not term.recordable]
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
            self.history.add(t, said)
        self.done = t + 1

    def gradient(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The gradient of the next step by the pixels, like them, and the unweighted terms of its objective."""
        draws = self.draws()
        return self._gradient(draws, self._seen(draws), draws.terms)

    def draws(self) -> Draws:
        """What chance and schedule say of the next step."""
        config, t = self.config, self.done
        key = self.key.child("step", t)
        places = draw_teachers(config.teachers.sampling, len(self.guides), key, t)
        terms = {}
        for place in places:
            for use, (_, term) in self.terms.items():
                drawn = term.draw(self.guides[place].layers, key)
                if drawn is not None:
                    terms[f"{use}.{place}"] = torch.from_numpy(drawn)
        moving = tuple(n for n, begin in enumerate(self.begins) if begin <= t)
        return Draws(t, key, places, moving, config.optimizer.lr * cosine(t, config.steps), terms)

    def _seen(self, draws: Draws) -> Pixels:
        """The augmentations of a step."""
        config = self.config
        return lambda pixels: augment(pixels, config.augment, draws.key, draws.step, config.steps)

    def _advance(self, draws: Draws, lr: float | torch.Tensor, seen: Pixels, drawn: Tensors) -> Tensors:
        """Move the pixels; the unweighted terms of the objective where they were."""
        self.x.grad, said = self._gradient(draws, seen, drawn)
        self.adam.step(lr)
        if self.config.clamp:
            with torch.no_grad():
                self.space.clamp_(self.x)
        return said

    def _replay(self, draws: Draws) -> Tensors:
        """The same, with all that changes as numbers that are copied to the device ahead of it."""
        self._next, size = draws, (int(self.x.shape[2]), int(self.x.shape[3]))

        def advance(inputs: Tensors) -> Tensors:
            return self._advance(
                self._next, inputs["lr"], lambda x: by_lines(x, inputs["rows"], inputs["columns"]), inputs
            )

        rows, columns = lines(self.config.augment, draws.key, len(draws.moving), size, draws.step, self.config.steps)
        recorder = self._recorders.setdefault((draws.places, len(draws.moving)), Recorder(advance, self.x.device))
        moved = {"rows": torch.from_numpy(rows), "columns": torch.from_numpy(columns)}
        return recorder({"lr": torch.tensor(draws.lr), **moved, **draws.terms})

    def _gradient(self, draws: Draws, seen: Pixels, drawn: Tensors) -> tuple[torch.Tensor, Tensors]:
        found, said = torch.zeros_like(self.x), Tensors()
        for place in draws.places:
            terms = self._look(place, draws, seen, drawn)
            objective = torch.stack([weight * terms[use] for use, (weight, _) in self.terms.items()]).sum()
            scale = self.guides[place].execution.loss_scale
            (pulled,) = torch.autograd.grad(objective * scale, [self.x])
            found += pulled / (scale * len(draws.places))
            for use, value in terms.items():
                said[use] = said.get(use, 0.0) + value.detach() / len(draws.places)
        return found, said

    def _look(self, place: int, draws: Draws, seen: Pixels, drawn: Tensors) -> Tensors:
        """The unweighted terms in the eyes of one teacher."""
        guide, count = self.guides[place], len(draws.moving)
        if count < len(self.begins) and count not in self._rows:
            self._rows[count] = torch.tensor(draws.moving, device=self.x.device)
        rows = self._rows.get(count)

        def answer(pixels: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return guide.logits(seen(pixels), self.space)

        pixels = self.x if rows is None else self.x[rows]
        view = seen(pixels)
        logits, taps = guide.look(view, self.space, self._wanted(guide))
        labels = self.labels if rows is None else self.labels[rows]
        classes = tuple(self.classes[n] for n in draws.moving)
        own = {use: drawn[f"{use}.{place}"].to(view.device) for use in self.terms if f"{use}.{place}" in drawn}
        look = Look(pixels, rows, view, labels, classes, logits, taps, own, guide, place, draws.key, answer)
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
        remembered = {f"term.{use}.{k}": v for use, (_, term) in self.terms.items() for k, v in term.state().items()}
        return {
            "x": x.clone(),
            "exp_avg": self.adam.exp_avg.clone(),
            "exp_avg_sq": self.adam.exp_avg_sq.clone(),
            "adam_steps": torch.tensor(int(self.adam.steps)),
            "done": torch.tensor(self.done),
            **remembered,
            **self.history.state(),
        }

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from a state of the same block."""
        self._enter(state["x"].to(self.x.device))
        self.done = int(state["done"])
        self.adam.steps.fill_(float(state["adam_steps"]))
        self.adam.exp_avg.copy_(state["exp_avg"])
        self.adam.exp_avg_sq.copy_(state["exp_avg_sq"])
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
