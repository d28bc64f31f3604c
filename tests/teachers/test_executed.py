"""Teachers that only answer, by other executions: the same labels, or nearly, and the teacher stays what it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raydc.config.axes.execution import EXECUTIONS, Execution
from raydc.config.stages.networks import Arch
from raydc.config.stages.relabel import Ensemble
from raydc.labels.fidelity import fidelity, information
from raydc.teachers import executed
from raydc.teachers.ensemble import Teachers
from raydc.teachers.executed import CPU_IMAGES, Executed
from raydc.teachers.teacher import Teacher
from tests.teachers.test_ensemble import DROPPING, SMALL, images, teacher

SIXTEEN = [EXECUTIONS["eager-bf16"], EXECUTIONS["eager-fp16"]]


def lost(wanted: torch.Tensor, found: torch.Tensor) -> float:
    """The share of the labels' information."""
    z, other = wanted.numpy(), found.numpy()
    return fidelity(z, other, 1.0) / information(z, 1.0)


@torch.no_grad()
def answered(ensemble: Teachers, count: int = 21) -> torch.Tensor:
    return ensemble.logits(images(count))


@pytest.mark.parametrize("arch", [SMALL, DROPPING], ids=["ours", "timm's"])
def test_folded_and_in_16_bits_labels_are_near_and_the_teacher_stays_as_it_is(arch: Arch) -> None:
    teachers = [teacher(1, arch, scale=20.0), teacher(2, arch, scale=20.0)]
    config = Ensemble(combine="mean", batch=8)
    wanted = answered(Teachers(teachers, config))
    for execution in SIXTEEN:
        ensemble = Teachers(teachers, config, execution)
        found = answered(ensemble)
        assert found.dtype == torch.float32 and not torch.equal(found, wanted)
        assert lost(wanted, found) < 0.01
        assert torch.equal(answered(ensemble.plain), wanted) and ensemble.plain.execution.name == "eager"
    same = answered(Teachers(teachers, config, Execution("eager", "fp32")))
    assert torch.equal(same, wanted)


def test_what_timm_puts_into_its_batchnorm_is_kept() -> None:
    made = Executed(teacher(1, DROPPING), EXECUTIONS["eager-bf16"], 4, alone=True)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made._network.modules())
    assert any(isinstance(module, nn.SiLU) for module in made._network.modules())


def test_compiled_the_answers_are_the_same_and_one_shape_is_all_that_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: set[tuple[int, ...]] = set()
    compiled = executed.compiled

    def spying(function):  # type: ignore[no-untyped-def]
        made = compiled(function)
        return lambda x: seen.add(tuple(x.shape)) or made(x)

    monkeypatch.setattr(executed, "compiled", spying)
    one = teacher(1, scale=20.0)
    plain, made = Teachers([one], Ensemble()), Teachers([one], Ensemble(), EXECUTIONS["compiled"])
    for count in (1, 5, CPU_IMAGES, CPU_IMAGES + 1):
        wanted, found = answered(plain, count), answered(made, count)
        assert found.shape == wanted.shape and (wanted - found).abs().max() < 1e-4 * wanted.abs().max()
    assert seen == {(CPU_IMAGES, 3, 32, 32)}


@pytest.mark.parametrize("how", ["eager-bf16", "eager-fp16"])
def test_where_the_batch_is_part_of_the_answer_it_is_neither_folded_nor_cut(how: str) -> None:
    one, config = teacher(1, scale=20.0), Ensemble(norm="batch", batch=20)
    plain = Teachers([one], config)
    made = Teachers([one], config, EXECUTIONS[how])
    network = made._answering[0]._network  # type: ignore[union-attr]
    assert sum(isinstance(module, nn.BatchNorm2d) and module.training for module in network.modules()) > 0
    assert lost(answered(plain, 20), answered(made, 20)) < 0.01
    assert lost(answered(plain, 20), answered(made, 40)[:20]) > 0.0


def test_norms_are_balanced_over_the_batch_and_not_over_what_it_was_cut_into() -> None:
    several, config = [teacher(1, scale=20.0), teacher(2, scale=60.0)], Ensemble(combine="norm_mean", batch=21)
    wanted = answered(Teachers(several, config))
    assert lost(wanted, answered(Teachers(several, config, EXECUTIONS["eager-fp16"]))) < 0.001


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only a GPU can tell")
def test_on_a_gpu_fp16_kernels_answer_the_same() -> None:
    one = teacher(1, scale=20.0)
    there = Teacher(one.module.cuda(), one.record)
    x = images(21).cuda()
    with torch.no_grad():
        wanted = Teachers([there], Ensemble(batch=8)).logits(x).cpu()
        found = Teachers([there], Ensemble(batch=8), EXECUTIONS["compiled-fp16"]).logits(x).cpu()
    assert lost(wanted, found) < 0.001
