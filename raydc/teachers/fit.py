"""One network being trained, teacher or student: optimiser, learning rate, step, test and state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import distributed, nn

from raydc.config.axes.execution import EAGER, Execution
from raydc.config.axes.optimize import Optimizer, Sgd, Training
from raydc.config.stages.evaluate import WeightAverage
from raydc.config.stages.networks import Normalize
from raydc.errors import DataError
from raydc.keys import Key
from raydc.teachers.ambient import seeded
from raydc.teachers.arithmetic import Arithmetic
from raydc.teachers.average import Average
from raydc.teachers.batchnorm import Together
from raydc.teachers.schedule import by_steps, rate
from raydc.teachers.tally import Tally
from raydc.teachers.targets import Target


def make_optimizer(network: nn.Module, config: Optimizer) -> torch.optim.Optimizer:
    """Build the optimiser of a recipe.

    AdamW and Adam decay only tensors of two or more dimensions, as SRe2L ``validate/train_FKD.py`` and the recipe of
    ImageNet-21K-P do; SGD decays all, as the torchvision and CIFAR recipes do, unless it is told otherwise.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    if isinstance(config, Sgd) and config.decay == "all":
        return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if isinstance(config, Sgd):
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.use]
    return kind(groups, lr=config.lr)


class Fit:
    """A network, its optimiser and its place in the schedule.

    With a process group of more than one rank the network is wrapped in DistributedDataParallel: each rank steps on
    its rows of the global batch, gradients are those of the global mean and BatchNorm has the statistics of all rows,
    so all ranks hold, to the bit, the network that one rank would have trained alone, but for rounding and dropout.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Training,
        *,
        key: Key,
        pace: int = 1,
        normalize: Normalize | None = None,
        average: WeightAverage | None = None,
        device: torch.device | str = "cpu",
        group: distributed.ProcessGroup | None = None,
        execution: Execution = EAGER,
    ) -> None:
        """Take over ``network`` and move it to ``device``.

        Args:
            network: with its first weights.
            recipe: optimiser, schedule and epochs.
            key: names the draws of dropout and the like.
            pace: optimiser steps an epoch, for schedules that move by steps.
            normalize: the map from pixels in [0, 1] to the network's input; None: none.
            average: of the weights, tested in their place; None: the live weights are tested.
            device: where to train.
            group: of data-parallel ranks; None: alone.
            execution: of the training steps; tests are eager, in fp32.

        Raises:
            ValueError: several ranks, and another execution than the eager one in fp32.
        """
        self.device = torch.device(device)
        # On a CPU oneDNN is faster with channels last by half (measured at 32 pixels); values of weights do not change.
        layout = torch.channels_last if self.device.type == "cpu" else torch.preserve_format
        self.network = network.to(self.device).to(memory_format=layout)
        self.group, self.world, self.rank = group, 1, 0
        if group is not None:
            self.world, self.rank = distributed.get_world_size(group), distributed.get_rank(group)
        if self.world > 1 and execution != EAGER:
            raise ValueError(f"{self.world} ranks train together by execution {execution.name}; expected eager")
        self._arithmetic = Arithmetic(self.network, execution, self.device)
        self._forward = self._arithmetic.forward
        if self.world > 1:
            self._forward = nn.parallel.DistributedDataParallel(self.network, process_group=group)
        self.optimizer = make_optimizer(self.network, recipe.optimizer)
        self.average = None if average is None else Average(self.network, average)
        self.steps = 0
        self.tally: Tally | None = None
        """Of the last test, this rank's images; None before it."""
        self._recipe, self._pace, self._key = recipe, pace, key
        normalize = normalize or Normalize()
        self._mean = torch.tensor(normalize.mean, device=self.device).view(-1, 1, 1)
        self._std = torch.tensor(normalize.std, device=self.device).view(-1, 1, 1)

    def lr(self, epoch: float) -> float:
        """The learning rate at a time, in epochs since the beginning (``teachers/schedule.py``)."""
        recipe = self._recipe
        return recipe.optimizer.lr * rate(recipe.schedule, recipe.warmup, epoch, recipe.epochs)

    def start_epoch(self, epoch: int) -> float:
        """Set the learning rate of epoch ``epoch`` (from 0) and the training mode. Returns the learning rate."""
        self.network.train()
        return self._set_lr(self.lr(epoch))

    def _set_lr(self, lr: float) -> float:
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = lr
        return lr

    def step(self, x01: torch.Tensor, target: Target, rows: int | None = None, lent: bool = False) -> torch.Tensor:
        """Take one optimiser step.

        Args:
            x01: float ``[B, 3, H, W]`` in [0, 1] on the device: this rank's rows.
            target: of these rows.
            rows: images in the global batch; None: this rank has all.
            lent: the batch has fewer rows than there are ranks, and this one lends some that count for nothing.

        Returns:
            The mean loss of these rows, detached and still on the device: reading it would wait for the step.
        """
        # Data parallel gradients are averaged over ranks; ranks with more rows of a last batch must count for more.
        share = 0.0 if lent else 1.0 if rows is None else len(x01) * self.world / rows
        self.optimizer.zero_grad(set_to_none=True)
        with seeded(self._key.child("step", self.steps, "rank", self.rank), self.device):
            with self._together(lent), self._arithmetic.rounding():
                outputs = self._forward(self._input(x01))
            loss = target.loss(outputs.float())
            self._arithmetic.backward(loss * share)
        if by_steps(self._recipe.schedule):
            self._set_lr(self.lr(self.steps / self._pace))
        self._arithmetic.step(self.optimizer)
        self.steps += 1
        if self.average is not None:
            self.average.update(self.steps)
        return loss.detach()

    def _together(self, lent: bool) -> AbstractContextManager[Any]:
        return Together(self.group, counted=not lent) if self.world > 1 and self.group is not None else nullcontext()

    def _input(self, x01: torch.Tensor) -> torch.Tensor:
        x = (x01 - self._mean) / self._std
        return x.contiguous(memory_format=torch.channels_last) if self.device.type == "cpu" else x

    def test(self, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[float, float]:
        """Test on (x01 float ``[B, 3, H, W]``, labels int64 ``[B]``): top-1 and top-5 as fractions.

        With several ranks each gives its own share of the images, and all get the result of the whole.
        """
        self.network.eval()
        tested = {} if self.average is None else self.average.tensors
        forward = lambda x: torch.func.functional_call(self.network, tested, (self._input(x),))  # noqa: E731
        self.tally = Tally()
        counts = count_hits(forward, batches, self.device, self.tally)
        if self.world > 1:
            distributed.all_reduce(counts, group=self.group)
        return fractions(counts)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Everything the next step depends on: tensors for safetensors, numbers for JSON."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        for i, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in values.items() if isinstance(v, torch.Tensor)}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.tensors.items()}
        return tensors, {"steps": self.steps, **self._arithmetic.state()}

    def load_state(self, tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Any]) -> None:
        """Go back to what :meth:`state` returned; the next step is the same to the bit.

        Raises:
            DataError: the state is of another network.
        """
        own = _below("network.", tensors)
        try:
            self.network.load_state_dict(own)
        except RuntimeError as error:
            raise DataError(f"the saved state is of another network: {str(error).splitlines()[-1].strip()}") from None
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                place, _, what = rest.partition(".")
                parameter = parameters[int(place)]
                # In the memory layout of the parameter, or every later step would be slower than before.
                kept = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
                state.setdefault(int(place), {})[what] = kept
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        if self.average is not None:
            self.average.load(_below("average.", tensors))
        self.steps = int(numbers["steps"])
        self._arithmetic.load_state(numbers)


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def count_hits(
    forward: Any,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    device: torch.device | str,
    tally: Tally | None = None,
) -> torch.Tensor:
    """Count right answers without waiting for the device: int64 ``[3]``, top-1 hits, top-5 hits, images.

    Args:
        forward: maps pixels in [0, 1], float ``[B, 3, H, W]``, to logits ``[B, classes]``.
        batches: of (pixels, labels int64 ``[B]``).
        device: where the counts live.
        tally: counts by class as well.
    """
    counts = torch.zeros(3, dtype=torch.int64, device=device)
    for x01, labels in batches:  # whatever makes the batches may need gradients of its own
        with torch.no_grad():
            outputs = forward(x01)
        ranked = outputs.topk(min(5, outputs.shape[1]), dim=1).indices == labels[:, None]
        if tally is not None:
            tally.add(ranked[:, 0], labels, outputs.shape[1])
        counts += torch.stack([ranked[:, 0].sum(), ranked.sum(), torch.tensor(len(labels), device=device)])
    return counts


def fractions(counts: torch.Tensor) -> tuple[float, float]:
    """Turn the counts of :func:`count_hits` into top-1 and top-5 fractions.

    Raises:
        DataError: nothing was tested.
    """
    top1, top5, images = counts.tolist()
    if images == 0:
        raise DataError(
            "there are no images to test on; give data.validation, or a train split large enough to hold some out"
        )
    return top1 / images, top5 / images
