"""Who may import whom: rooms in one direction, and libraries that some rooms do without."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.trees import FILES, File

LEAVES = {"keys", "errors"}
"""Modules that anyone may import."""
ROOMS: dict[str, set[str]] = {
    "config": set(),
    "labels": {"config"},
    "plan": {"config", "labels"},
    "condense": {"config", "labels"},
    "store": {"config", "labels", "plan"},
    "report": {"config", "labels", "plan", "store"},
    "sources": {"config", "labels", "plan", "condense", "store"},
    "teachers": {"config", "labels", "plan", "condense", "store", "sources"},
    "students": {"config", "labels", "plan", "condense", "sources", "teachers"},
    "engine": {"config", "labels", "plan", "condense", "store", "report", "sources", "teachers", "students"},
    "cli": {"config", "plan", "store", "report", "engine"},
    "__main__": {"cli"},
    "__init__": {"sources"},
    **{leaf: set() for leaf in LEAVES},
}
"""A room and the rooms below it."""
HEAVY = {"torch", "torchvision", "timm", "ray"}
FOREIGN: dict[str, set[str]] = {
    "keys": HEAVY,
    "errors": HEAVY | {"numpy"},
    "config": HEAVY,
    "plan": HEAVY,
    "labels": HEAVY | {"fsspec", "PIL"},
    "store": HEAVY | {"PIL"},
    "report": HEAVY,
    "condense": {"ray", "timm", "fsspec", "PIL", "webdataset", "yaml"},
    "sources": {"ray", "timm"},
    "teachers": {"ray"},
    "students": {"ray"},
    "engine": {"torch.nn", "torch.optim"},
}
"""A room and the libraries (or parts of them) that it may not use."""


def upward(file: File) -> list[str]:
    """Imports of rooms that are not below."""
    allowed = ROOMS.get(file.room, set()) | LEAVES | {file.room, "__version__"}
    return [
        f"{file.path}:{line}: {file.room} imports {name}"
        for name, line in file.imports()
        if name.startswith(".") or (name.split(".")[0] == "raydc" and name.split(".")[1] not in allowed)
    ]


def foreign(file: File) -> list[str]:
    """Uses of libraries that the room does without."""
    used = {*file.imports(), *file.attributes()}
    forbidden = FOREIGN.get(file.room, set())
    return [
        f"{file.path}:{line}: {file.room} uses {name}"
        for name, line in sorted(used)
        if any(f"{name}.".startswith(f"{library}.") for library in forbidden)
    ]


def test_every_room_has_a_place_in_the_order() -> None:
    assert {file.room for file in FILES} == set(ROOMS)


def test_the_order_has_no_circle() -> None:
    seen: set[str] = set()
    while seen != set(ROOMS):
        free = {name for name, below in ROOMS.items() if below <= seen} - seen
        assert free, f"these rooms depend on one another: {sorted(set(ROOMS) - seen)}"
        seen |= free


def test_dependence_runs_one_way() -> None:
    assert [wrong for file in FILES for wrong in upward(file)] == []


def test_libraries_stay_out_of_rooms_that_do_without() -> None:
    assert [wrong for file in FILES for wrong in foreign(file)] == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("condense/a.py", "from raydc.engine.pool import Pool"),
        ("config/a.py", "import raydc.labels.codecs"),
        ("store/a.py", "def f():\n    from raydc.sources.base import Source"),
        ("keys.py", "from raydc.errors import DataError\nfrom raydc.config import RunConfig"),
        ("engine/a.py", "from raydc import cli"),
        ("plan/a.py", "from .blocks import Block"),
    ],
)
def test_the_rule_of_rooms_sees(path: str, text: str) -> None:
    assert len(upward(File(path, text))) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("condense/a.py", "import ray.data"),
        ("labels/a.py", "from torch import Tensor"),
        ("report/a.py", "def f():\n    import torch"),
        ("engine/a.py", "import torch\nx = torch.nn.Linear(1, 1)"),
        ("engine/a.py", "from torch import optim"),
    ],
)
def test_the_rule_of_libraries_sees(path: str, text: str) -> None:
    assert foreign(File(path, text))


def test_type_checkers_may_look_anywhere() -> None:
    text = "if TYPE_CHECKING:\n    from raydc.engine.run import Run\n    import ray"
    assert upward(File("plan/a.py", text)) == [] == foreign(File("plan/a.py", text))


def loaded(module: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after importing ``module``, with all that it pulls in."""
    code = f"import sys, {module}; print(*(m for m in sys.modules if m.count('.') < 2))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    ["raydc", "raydc.config", "raydc.plan.cost", "raydc.labels.views", "raydc.store.manifest", "raydc.report.page"],
)
def test_light_rooms_load_no_heavy_library(module: str) -> None:
    assert loaded(module) & HEAVY == set()


def test_the_quiet_room_wakes_nobody() -> None:
    found = loaded("raydc.condense.synthesize") | loaded("raydc.condense.views")
    others = {"ray", "timm", "webdataset", "raydc.store", "raydc.sources", "raydc.teachers", "raydc.engine"}
    assert found & others == set()


def test_a_synthesizer_starts_without_what_others_need() -> None:
    """Each worker is a process, and waits for all that it imports."""
    others = {"ray.data", "ray.train", "pandas", "torchvision", "torch._dynamo"}
    assert loaded("raydc.engine.synthesizer") & others == set()


def test_small_work_wakes_neither_torchs_compiler_nor_scikit_learn() -> None:
    """Seconds of every process of a first run on digits, which has a dozen."""
    code = """
import sys, torch
from raydc.condense.adam import Adam
from raydc.config.axes.optimize import PixelAdam
from raydc.config.stages.networks import Arch
from raydc.sources import digits
from raydc.teachers.libraries import Small
from raydc.teachers.networks import check, skeleton
digits.load()
for name in Small().names():
    check(Arch(use="small", name=name), 10, 32)
    skeleton(Arch(use="small", name=name), 10, 32)
x = torch.ones(3, requires_grad=True)
x.sum().backward()
Adam(x, PixelAdam(lr=0.5)).step(0.5)
print(len(Small().names()) > 4, x.tolist(), {"torch._dynamo", "torchvision", "sklearn"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True [0.5, 0.5, 0.5] set()"
