"""The objective over the steps of a block."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


@dataclass
class History:
    """Objective terms over steps, kept on the device until asked for: reading a number stalls the step."""

    steps: list[int] = field(default_factory=list)
    terms: dict[str, list[torch.Tensor | float]] = field(default_factory=dict)

    def add(self, step: int, terms: dict[str, torch.Tensor]) -> None:
        """Keep the unweighted terms of a step."""
        self.steps.append(step)
        for name, value in terms.items():
            self.terms.setdefault(name, []).append(value.detach().clone())

    def plain(self) -> dict[str, list[float] | list[int]]:
        """The history as numbers, rounded to six digits so that they print alike everywhere."""
        numbers = {name: [float(f"{float(v):.6g}") for v in values] for name, values in self.terms.items()}
        return {"steps": list(self.steps), **numbers}

    def state(self) -> dict[str, torch.Tensor]:
        """The history as tensors."""
        numbers = {f"history.{name}": [float(v) for v in values] for name, values in self.terms.items()}
        terms = {name: torch.tensor(values, dtype=torch.float64) for name, values in numbers.items()}
        return {"history_steps": torch.tensor(self.steps), **terms}

    @classmethod
    def of(cls, state: dict[str, torch.Tensor]) -> History:
        """The history that a state holds."""
        kept = {k.removeprefix("history."): list(v.tolist()) for k, v in state.items() if k.startswith("history.")}
        return cls(state["history_steps"].tolist(), kept)
