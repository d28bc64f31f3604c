"""The recorder: a whole step as one CUDA graph, so that no host can be too slow for it.

Of 100 images a step takes 1.7 ms of an H100 at the floor; its launches take an eager host 6.4 ms and a compiled one 2.7
(performance study, sections 1 and 5). Recorded, it is one launch. What changes from step to step is drawn on the host
ahead of the device, and copied into tensors that the graph reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

Tensors = dict[str, torch.Tensor]
Answer = TypeVar("Answer")
WARM = 3
"""Calls before a recording, as PyTorch asks for: compilers, libraries and the terms of the objective make their own
tensors in the first. They are steps like all others."""


class Recorder(Generic[Answer]):
    """Calls a function that works in place on tensors of its own; on a GPU, after some calls, by a graph of it."""

    def __init__(self, function: Callable[[Tensors], Answer], device: torch.device) -> None:
        """Take a function of small tensors, always of the same names and shapes, that answers with tensors.

        It must not read a number from the device, and must keep what it remembers in the same memory.
        """
        self._function, self._device = function, device
        self._inputs: Tensors = {}
        self._calls = 0
        self._recorded: tuple[torch.cuda.CUDAGraph, Answer] | None = None

    def __call__(self, inputs: Tensors) -> Answer:
        """Do it with these inputs, tensors of the host. What is returned is overwritten by the next call."""
        self._take(inputs)
        if self._device.type != "cuda":
            return self._function(self._inputs)
        self._calls += 1
        if self._recorded is None:
            if self._calls <= WARM:
                return self._beside()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):  # it is only written down here
                self._recorded = graph, self._function(self._inputs)
        graph, answer = self._recorded
        graph.replay()
        return answer

    def _take(self, inputs: Tensors) -> None:
        for name, value in inputs.items():
            if name not in self._inputs:
                self._inputs[name] = value.to(self._device, copy=True)
            elif self._device.type == "cuda":
                self._inputs[name].copy_(value.pin_memory(), non_blocking=True)
            else:
                self._inputs[name].copy_(value)

    def _beside(self) -> Answer:
        """On a stream of its own: a recording must not meet work of the default stream."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            found = self._function(self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        return found
