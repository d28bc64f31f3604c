"""The house rules, read off the syntax trees: who may import whom, and what no file may do."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import raydc

PACKAGE = Path(raydc.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

LEAVES = {"keys", "errors"}
"""Modules that anyone may import."""
ROOMS: dict[str, set[str]] = {
    "config": set(),
    "labels": {"config"},
    "plan": {"config"},
    "condense": {"config", "labels"},
    "store": {"config", "labels", "plan"},
    "report": {"config", "labels", "plan", "store"},
    "sources": {"config", "labels", "plan", "condense", "store"},
    "teachers": {"config", "labels", "plan", "condense", "store", "sources"},
    "students": {"config", "labels", "plan", "condense", "teachers", "sources"},
    "engine": {"config", "labels", "plan", "condense", "store", "report", "sources", "teachers", "students"},
    "cli": {"config", "plan", "store", "report", "engine"},
    "__main__": {"cli"},
    "__init__": {"sources"},
    **{leaf: set() for leaf in LEAVES},
}
"""A room and the rooms below it."""
FOREIGN: dict[str, set[str]] = {
    "config": {"torch", "torchvision", "ray"},
    "plan": {"torch", "torchvision", "ray"},
    "report": {"torch", "torchvision", "ray"},
    "labels": {"torch", "torchvision", "ray", "fsspec", "PIL", "timm"},
    "store": {"torch", "torchvision", "ray", "PIL", "timm"},
    "condense": {"ray", "timm", "fsspec", "PIL", "webdataset", "yaml"},
    "sources": {"ray", "timm"},
    "teachers": {"ray"},
    "students": {"ray", "timm"},
    "engine": {"torch.nn", "torch.optim", "torch.nn.functional"},
    "keys": {"torch", "ray"},
    "errors": {"torch", "ray", "numpy"},
}
"""A room and the libraries that it may not import."""
MAX_LINES = 320
MAX_FUNCTION = 70


@dataclass(frozen=True)
class Import:
    """An imported module, by its whole name, and where."""

    name: str
    line: int


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(tree(path))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the dotted name of what is called."""
    for node in nodes(path):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def room(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(path: Path) -> list[Import]:
    """All imports of a file, also those inside functions, but not those for type checkers alone."""
    skipped = {
        id(inner)
        for node in nodes(path)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in nodes(path):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found += [Import(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def each(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


every_file = pytest.mark.parametrize("path", FILES, ids=each)


def test_every_room_has_a_place_in_the_order() -> None:
    assert {room(path) for path in FILES} <= set(ROOMS)


def test_the_order_has_no_circle() -> None:
    seen: set[str] = set(LEAVES)
    waiting = {name: below - LEAVES for name, below in ROOMS.items() if name not in LEAVES}
    while waiting:
        free = {name for name, below in waiting.items() if below <= seen}
        assert free, f"these rooms depend on one another: {sorted(waiting)}"
        seen |= free
        waiting = {name: below for name, below in waiting.items() if name not in free}


@every_file
def test_dependence_runs_one_way(path: Path) -> None:
    own = room(path)
    allowed = ROOMS[own] | LEAVES | {own}
    wrong = [
        f"line {i.line}: {i.name}"
        for i in imports(path)
        if i.name.startswith("raydc.") and i.name.split(".")[1] not in allowed | {"__version__"}
    ]
    assert not wrong, f"{own} may import {sorted(allowed)} only: {wrong}"


@every_file
def test_libraries_stay_out_of_rooms_that_do_without(path: Path) -> None:
    forbidden = FOREIGN.get(room(path), set())
    wrong = [
        f"line {i.line}: {i.name}" for i in imports(path) if any(f"{i.name}.".startswith(f"{f}.") for f in forbidden)
    ]
    if room(path) == "engine":
        wrong += [
            f"line {n.lineno}: {ast.unparse(n)}"
            for n in nodes(path)
            if isinstance(n, ast.Attribute) and ast.unparse(n) in forbidden
        ]
    assert not wrong


@pytest.mark.parametrize("name", ["config", "plan.cost", "labels.codecs", "labels.views", "store.manifest", "report.page"])
def test_light_rooms_load_no_heavy_library(name: str) -> None:
    """By import of a fresh interpreter: also what is pulled in by what they import."""
    heavy = "{'torch', 'ray', 'timm', 'torchvision'}"
    code = f"import sys, raydc.{name}; found = {heavy} & set(sys.modules); sys.exit(', '.join(sorted(found)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_quiet_room_loads_no_cluster_and_no_disk() -> None:
    heavy = "{'ray', 'timm', 'fsspec', 'PIL', 'webdataset', 'raydc.store', 'raydc.sources'}"
    code = (
        f"import sys, raydc.condense.synthesize, raydc.condense.views; own = {heavy} & set(sys.modules)\n"
        "import torch, subprocess; sys.exit(', '.join(sorted(own - {'fsspec', 'PIL'})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- what no file may do ----------------------------------------------------------------------------------------
@every_file
def test_nothing_is_printed_outside_the_command_line_and_the_report(path: Path) -> None:
    if room(path) not in ("cli", "report"):
        assert [node.lineno for name, node in calls(path) if name in ("print", "rich.print", "pprint.pprint")] == []


@every_file
def test_no_except_catches_what_it_does_not_name(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"
            if "BaseException" in ast.unparse(node.type):
                assert any(isinstance(n, ast.Raise) for n in ast.walk(node)), f"line {node.lineno}: swallows everything"


@every_file
def test_no_mistake_is_passed_over_in_silence(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.ExceptHandler) and "Exception" in ast.unparse(node.type or ast.Constant("")).split("."):
            assert not all(isinstance(n, (ast.Pass, ast.Continue)) for n in node.body), f"line {node.lineno}"


@every_file
def test_nothing_is_unpickled(path: Path) -> None:
    """``pickle`` may be imported for the name of its error alone."""
    banned = {"cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert not [i for i in imports(path) if i.name.split(".")[0] in banned]
    used = {ast.unparse(n) for n in nodes(path) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "pickle"}
    assert used <= {"pickle.UnpicklingError"}
    assert not [i for i in imports(path) if i.name.startswith("pickle.") and i.name != "pickle.UnpicklingError"]


@every_file
def test_readers_of_files_are_the_safe_ones(path: Path) -> None:
    for name, node in calls(path):
        keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
        where = f"{each(path)}:{node.lineno}"
        if name == "torch.load":
            assert keywords.get("weights_only") == "True", where
        if name in ("np.load", "numpy.load", "np.lib.format.read_array"):
            assert keywords.get("allow_pickle") == "False", where
        if name in ("np.save", "np.lib.format.write_array"):
            assert keywords.get("allow_pickle") == "False", where
        assert name not in ("yaml.load", "yaml.full_load", "yaml.unsafe_load", "torch.save", "eval", "exec"), where
        assert not name.endswith((".extractall", ".extract")), f"{where}: tars are streamed, never extracted"


@every_file
def test_no_randomness_but_that_of_keys(path: Path) -> None:
    """Philox in keys.py; a torch generator only where its seed is drawn from a key (teachers/ambient.py)."""
    torch_draws = ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial")
    for node in nodes(path):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name.startswith(("np.random.", "numpy.random.")):
                assert room(path) == "keys" and name.startswith("np.random.Philox"), f"line {node.lineno}: {name}"
            assert name not in {f"torch.{draw}" for draw in torch_draws}, f"line {node.lineno}: {name}"
            assert not name.startswith("random."), f"line {node.lineno}: {name}"
            if name in ("torch.manual_seed", "torch.Generator", "torch.seed", "torch.random.fork_rng"):
                assert each(path) == "teachers/ambient.py", f"line {node.lineno}: {name}"
    drawn = [i for i in imports(path) if i.name.split(".")[0] in ("random", "secrets")]
    assert not drawn


@every_file
def test_no_class_count_is_written_down(path: Path) -> None:
    """A thousand is a unit in the report's numbers; nowhere else."""
    counts = {1_000, 10_450, 11_221} if room(path) != "report" else {10_450, 11_221}
    found = [n.lineno for n in nodes(path) if isinstance(n, ast.Constant) and type(n.value) is int and n.value in counts]
    assert not found


@every_file
def test_no_assert_where_a_user_can_reach_it(path: Path) -> None:
    assert [node.lineno for node in nodes(path) if isinstance(node, ast.Assert)] == []


@every_file
def test_no_behaviour_hangs_on_the_name_of_a_method(path: Path) -> None:
    methods = {"sre2l", "cda", "gvbsm", "g_vbsm", "rded", "edc", "lpld"}
    for node in nodes(path):
        if isinstance(node, ast.Compare):
            named = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
            assert not named & methods, f"line {node.lineno}"


# ---- size and words ---------------------------------------------------------------------------------------------
@every_file
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@every_file
def test_functions_stay_short(path: Path) -> None:
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in nodes(path)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None
    }
    assert not {name: lines for name, lines in long.items() if lines > MAX_FUNCTION}


@every_file
def test_what_is_public_says_what_it_does(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "the file has no docstring"
    owners = [tree(path), *(n for n in tree(path).body if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))]
    silent = [
        f"line {node.lineno}: {node.name}"
        for owner in owners
        for node in owner.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not any(ast.unparse(d) in ("overload", "override") for d in node.decorator_list)
    ]
    assert not silent


@every_file
def test_annotations_are_not_run(path: Path) -> None:
    """Types are written for readers: the future import keeps them so on Python 3.10."""
    body = [n for n in tree(path).body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    if any(isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.AnnAssign)) for n in body):
        first = body[0]
        assert isinstance(first, ast.ImportFrom) and first.module == "__future__"
