"""The same step in other ways: the same gradient, to the tolerance of its precision."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from raydc.condense.execution import compiled, explicit
from raydc.condense.execution.compiler import CACHE
from raydc.condense.execution.explicit import Stem
from raydc.condense.group import Group
from raydc.condense.guide import Guide
from raydc.condense.observer import Observer
from raydc.condense.space import Space
from raydc.condense.synthesize import Synthesis
from raydc.config.axes.execution import EAGER, EXECUTIONS, Execution, ExecutionName
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.keys import Key
from tests.condense.nets import PLAIN, TinyMobile, TinyResNet, frozen, invented, pixels
from tests.condense.test_launch import RECORDABLE, launch

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute")  # which the compiler reads, and hides

TERMS = [
    {"use": "cross_entropy"},
    {"use": "bn_statistics", "weight": 0.05, "category": 0.5, "average": {"decay": 0.8}},
    {"use": "conv_statistics", "weight": 0.05, "tile": 4, "drop": 0.3},
]


SETTINGS = SynthesizeConfig.model_validate(
    {
        "ipc": 1,
        "steps": 4,
        "initialize": {"use": "noise"},
        "objective": TERMS,
        "augment": [{"use": "flip"}],
        "log_every": 1,
    }
)


def block(network: nn.Module, execution: Execution, count: int = 3, side: int = 6) -> Synthesis:
    """Six by six: maps are enlarged to tiles of four."""
    guide = Guide(network, lambda z: z, PLAIN, invented(network, side, 4, 5), execution)
    dtype = next(network.parameters()).dtype
    start = pixels(count, side).to(dtype)
    return Synthesis(SETTINGS, [guide], start, [Group(list(range(count)), [0] * count, Key((0, "b")))])


def gradient(network: nn.Module, execution: Execution) -> torch.Tensor:
    return block(network, execution).gradient()[0].flatten().double()


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(one @ other / one.norm() / other.norm())


# ---- the stem ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(("kernel", "padding"), [(7, 3), (3, 1), (3, 0), (5, 2), (4, 1), (7, 2)])
def test_a_stem_over_depth_is_the_convolution(kernel: int, padding: int, side: int) -> None:
    conv = nn.Conv2d(3, 5, kernel, stride=2, padding=padding, bias=kernel != 7).double()
    x, other = (pixels(2, side).double().requires_grad_(True) for _ in range(2))
    expected, got = conv(x), Stem(conv)(other)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    weights = pixels(*got.shape[:1], 1, channels=5).double()
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(other.grad, x.grad, rtol=1e-12, atol=1e-12)


def test_only_the_stem_is_rearranged() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1, groups=4), nn.Conv2d(8, 8, 1, 2), nn.Conv2d(8, 8, 3, 2)
    )
    made = explicit(frozen(network), rearranged=True)
    assert [type(m).__name__ for m in made] == ["Stem", "Conv2d", "Conv2d", "Conv2d"]
    torch.testing.assert_close(made(pixels(2, 32)), network(pixels(2, 32)))


# ---- the copy ---------------------------------------------------------------------------------------------------
def test_eagerly_nothing_is_copied() -> None:
    network = frozen(TinyResNet())
    assert explicit(network) is network


def test_in_sixteen_bits_the_callers_network_stays_and_batch_norm_keeps_its_precision() -> None:
    network = frozen(TinyResNet())
    before = {k: v.clone() for k, v in network.state_dict().items()}
    made = explicit(network, torch.bfloat16)
    assert made.conv1.weight.dtype == made.fc.weight.dtype == torch.bfloat16
    assert made.bn1.weight.dtype == made.bn1.running_mean.dtype == torch.float32
    assert made.bn1.weight.data_ptr() == network.bn1.weight.data_ptr()
    assert all(torch.equal(before[k], v) and v.dtype == before[k].dtype for k, v in network.state_dict().items())


def test_every_execution_is_named_after_what_it_does() -> None:
    assert all(EXECUTIONS[name].name == name for name in EXECUTIONS)
    assert EXECUTIONS["eager"] == EAGER
    assert set(get_args(ExecutionName)) == {"auto", *EXECUTIONS}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x0_5"])
def test_what_a_compiler_is_given_is_the_same_mathematics_on_published_networks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers rearranged, hooks for good, tilings known beforehand, two blocks in a launch: all but the compiler."""
    monkeypatch.setattr("raydc.condense.observer.compiled", lambda function: function)
    network = frozen(get_model(name, num_classes=5)).double()
    known, x = invented(network, 64, 4, 5), pixels(4, 64).double()

    def pulled(how: str, start: torch.Tensor, first: int) -> torch.Tensor:
        guide = Guide(network, lambda z: z, PLAIN, known, EXECUTIONS[how])
        groups = [Group([n, n + 1], [0, 0], Key((0, n))) for n in range(first, 2)]
        return Synthesis(SETTINGS, [guide], start, groups).gradient()[0]

    together, alone = pulled("compiled", x, 0), pulled("eager", x[2:], 1)
    assert float((together[2:] - alone).norm() / alone.norm()) < 1e-9


# ---- precision --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "least"), [("eager-bf16", 0.98), ("eager-fp16", 0.999)])
@pytest.mark.parametrize("kind", [TinyResNet, TinyMobile])
def test_sixteen_bits_pull_the_same_way(kind: type[nn.Module], name: str, least: float) -> None:
    network = frozen(kind())
    exact, got = gradient(network, EAGER), gradient(network, EXECUTIONS[name])
    assert cosine(got, exact) > least
    assert float(got.norm() / exact.norm()) == pytest.approx(1.0, abs=0.1), "the loss scale is taken out again"


def test_statistics_and_pixels_are_in_single_precision_whatever_flows() -> None:
    network = frozen(TinyResNet())
    outputs, (taps,) = Observer(network, EXECUTIONS["eager-bf16"]).look(pixels(2, 8), {0: 0, 1: 0})
    assert outputs.dtype == taps["bn"].batch.mean.dtype == taps["conv"].batch.var.dtype == torch.float32
    made = block(network, EXECUTIONS["eager-bf16"])
    made.step()
    assert made.x.dtype == torch.float32


# ---- the compiler -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of kernels of this module alone."""
    before = os.environ.get(CACHE)
    folder = tmp_path_factory.mktemp("kernels")
    os.environ[CACHE] = str(folder)
    yield folder
    del os.environ[CACHE]
    if before is not None:
        os.environ[CACHE] = before


def in_launch(which: list[int], execution: str = "eager") -> Synthesis:
    """These of two blocks with a residual and a mobile network in turn: the same graphs for all that follows, for a
    compiler takes half a minute for each."""
    return launch(which, execution, objective=RECORDABLE[:3])


def turned(synthesis: Synthesis, step: int) -> torch.Tensor:
    """The gradient of that step; each has a network of its own."""
    synthesis.done = step
    return synthesis.gradient()[0]


def test_a_compiled_launch_is_the_mathematics_of_its_blocks() -> None:
    for step in range(2):
        got, eager = (turned(in_launch([0, 1], name), step) for name in ("compiled", "eager"))
        assert float((got - eager).norm() / eager.norm()) < 1e-12
        alone = torch.cat([turned(in_launch([n]), step) for n in (0, 1)])
        torch.testing.assert_close(got, alone, rtol=1e-9, atol=1e-12)


def test_a_compiled_launch_goes_on_bit_for_bit() -> None:
    whole = in_launch([0, 1], "compiled")
    for _ in range(2):
        whole.step()
    state = whole.state()
    for _ in range(2):
        whole.step()
    torch._dynamo.reset()  # as another process would find it: with kernels on the disk alone
    again = in_launch([0, 1], "compiled")
    again.restore(state)
    for _ in range(2):
        again.step()
    assert torch.equal(again.x, whole.x)
    for one, other in zip(whole.groups, again.groups, strict=True):
        assert one.history.plain() == other.history.plain()


def test_half_a_kernel_in_the_cache_is_made_again(kernels: Path) -> None:
    """As a worker leaves it that is killed while it compiles."""

    def twice(x: torch.Tensor) -> torch.Tensor:
        return (x * 2).sin()

    x = pixels(1, 8)
    compiled(twice)(x)
    libraries = list(kernels.rglob("*.so"))
    assert libraries
    for library in libraries:
        library.unlink()  # loaded here: another file must stand in its place, not other bytes in this one
        library.write_bytes(b"")
    torch._dynamo.reset()
    torch.testing.assert_close(compiled(twice)(x), twice(x))


def test_what_cannot_be_compiled_whole_is_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x).mean((2, 3))
            return y if y.sum().item() > 0 else -y

    observer = Observer(frozen(Counting()), EXECUTIONS["compiled"])
    with pytest.raises(Exception, match=r"(?i)unsupported|data.dependent|graph"):
        observer.look(pixels(2, 4).requires_grad_(True), {0: 0})


# ---- the recorded step ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sampling", ["round_robin", "all"])
def test_a_recorded_step_goes_the_same_way(sampling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that changes from step to step as inputs, all that is remembered in place; here the graph is only called."""
    monkeypatch.setattr("raydc.condense.observer.compiled", lambda function: function)
    made = {}
    for name in ("eager", "graph"):
        settings = SynthesizeConfig.model_validate(
            {
                "ipc": 2, "steps": 6, "rounds": 2, "initialize": {"use": "noise"}, "blocks": {"group": "class_major"},
                "teachers": {"sampling": sampling}, "objective": [*TERMS, {"use": "flatness"}], "log_every": 1,
                "augment": [{"use": "resized_crop"}, {"use": "flip"}, {"use": "roll", "max_offset": 2}],
            }
        )  # fmt: skip
        networks = [frozen(TinyResNet(), "a").double(), frozen(TinyMobile(), "b").double()]
        guides = [Guide(n, lambda z: z, PLAIN, invented(n, 6, 4, 5), EXECUTIONS[name]) for n in networks]
        made[name] = Synthesis(
            settings, guides, pixels(4, 6).double(), [Group([0, 0, 1, 1], [0, 1, 0, 1], Key((0, "b")))]
        )
        state = None
        for step in range(6):
            if step == 4:
                made[name].restore(state)
            made[name].step()
            if step == 3:
                state = made[name].state()
    torch.testing.assert_close(made["graph"].x, made["eager"].x, rtol=0, atol=1e-4)
    one, other = (made[name].groups[0].history.plain() for name in ("graph", "eager"))
    assert one["conv_statistics"] == pytest.approx(other["conv_statistics"], rel=1e-4)


def test_what_cannot_be_recorded_is_refused() -> None:
    for change, said in (
        ({"objective": [{"use": "densification"}]}, "densification"),
        ({"augment": [{"use": "dsa"}]}, "more than"),
    ):
        settings = SynthesizeConfig.model_validate(
            {"ipc": 2, "steps": 4, "initialize": {"use": "noise"}, "blocks": {"group": "class_major"},
             "objective": TERMS, **change}
        )  # fmt: skip
        guide = Guide(frozen(TinyResNet()), lambda z: z, PLAIN, None, EXECUTIONS["graph"])
        with pytest.raises(ValueError, match=f"{said}.* cannot be recorded"):
            Synthesis(settings, [guide], pixels(2, 6), [Group([0, 0], [0, 1], Key((0,)))])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only a GPU records")
@pytest.mark.parametrize("name", ["compiled", "compiled-fp16", "graph", "graph-fp16"])
def test_on_a_gpu_every_execution_goes_the_eager_way(name: str) -> None:
    made = {}
    for which in ("eager", name):
        network = frozen(TinyResNet()).cuda()
        guide = Guide(network, lambda z: z, Space((0.0,) * 3, (1.0,) * 3, "cuda"), None, EXECUTIONS[which])
        settings = SynthesizeConfig.model_validate(
            {"ipc": 1, "steps": 12, "initialize": {"use": "noise"}, "objective": TERMS[:1] + [{"use": "bn_statistics"}],
             "augment": [{"use": "resized_crop"}, {"use": "flip"}], "log_every": 1}
        )  # fmt: skip
        made[which] = Synthesis(settings, [guide], pixels(4, 32).cuda(), [Group([0, 1, 2, 3], [0] * 4, Key((0, "b")))])
        for _ in range(12):
            made[which].step()
    one, other = (made[which].groups[0].history.plain()["bn_statistics"] for which in ("eager", name))
    assert other == pytest.approx(one, rel=0.05)
    assert cosine(made[name].x.detach().flatten().double(), made["eager"].x.detach().flatten().double()) > 0.98
