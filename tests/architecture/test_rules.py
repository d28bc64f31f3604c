"""What no file of the package may do. A rule yields a line for each break; a snippet shows that it sees one."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

import pytest

from tests.architecture.trees import FILES, File

MAX_LINES = 320
MAX_FUNCTION = 70
CLASS_COUNTS = {1_000, 10_450, 11_221}
METHODS = {"sre2l", "cda", "gvbsm", "g_vbsm", "rded", "edc", "lpld"}
TORCH_DRAWS = {f"torch.{d}" for d in ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial")}
TORCH_SEEDS = {"torch.manual_seed", "torch.Generator", "torch.seed", "torch.random.fork_rng"}
Break = Iterator[tuple[int, str]]


def prints(file: File) -> Break:
    for name, node in file.calls():
        if name in ("print", "rich.print", "pprint.pprint") and file.room not in ("cli", "report"):
            yield node.lineno, name


def catches_everything(file: File) -> Break:
    """Bare ``except``, ``except BaseException`` that raises nothing, ``except Exception`` that does nothing."""
    for node in file.nodes:
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "BaseException"
            raises = any(isinstance(n, ast.Raise) for n in ast.walk(node))
            idle = all(isinstance(n, (ast.Pass, ast.Continue)) for n in node.body)
            if node.type is None or ("BaseException" in caught and not raises) or (caught == "Exception" and idle):
                yield node.lineno, f"except {caught}"


def unpickles(file: File) -> Break:
    """``pickle`` serves for the name of its error alone."""
    for name, line in file.imports():
        root = name.split(".")[0]
        if root in ("cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal") or name.startswith("pickle."):
            yield line, f"import {name}"
    for name, line in file.attributes():
        if name.startswith("pickle.") and name != "pickle.UnpicklingError":
            yield line, name


def reads_unsafely(file: File) -> Break:
    demanded = {
        "torch.load": ("weights_only", "True"),
        **{f"{np}.{load}": ("allow_pickle", "False") for np in ("np", "numpy") for load in ("load", "save")},
        "np.lib.format.read_array": ("allow_pickle", "False"),
        "np.lib.format.write_array": ("allow_pickle", "False"),
    }
    banned = ("yaml.load", "yaml.full_load", "yaml.unsafe_load", "torch.save", "eval", "exec")
    for name, node in file.calls():
        keyword, value = demanded.get(name, (None, ""))
        if keyword and {k.arg: ast.unparse(k.value) for k in node.keywords}.get(keyword) != value:
            yield node.lineno, f"{name} without {keyword}={value}"
        if name in banned or name.endswith((".extractall", ".extract")):
            yield node.lineno, name


def draws(file: File) -> Break:
    """Philox in keys.py; torch is seeded in teachers/ambient.py alone, from a key."""
    for name, line in file.imports():
        if name.split(".")[0] in ("random", "secrets") or name.startswith(("numpy.random", "torch.random")):
            yield line, f"import {name}"
    for name, line in file.attributes():
        ours = file.path == "keys.py" and name.startswith("np.random.Philox")
        if name.startswith(("np.random.", "numpy.random.")) and not ours:
            yield line, name
        if name in TORCH_DRAWS or (name in TORCH_SEEDS and file.path != "teachers/ambient.py"):
            yield line, name


def counts_classes(file: File) -> Break:
    """A thousand is a unit of the report's numbers, nothing else anywhere."""
    banned = CLASS_COUNTS - {1_000} if file.room == "report" else CLASS_COUNTS
    for node in file.nodes:
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in banned:
            yield node.lineno, str(node.value)


def asserts(file: File) -> Break:
    for node in file.nodes:
        if isinstance(node, ast.Assert):
            yield node.lineno, ast.unparse(node)


def asks_for_a_method(file: File) -> Break:
    for node in file.nodes:
        if isinstance(node, ast.Compare):
            words = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
            if words & METHODS:
                yield node.lineno, ast.unparse(node)


def is_long(file: File) -> Break:
    lines = len(file.text.splitlines())
    if lines > MAX_LINES:
        yield 1, f"{lines} lines"
    for node in file.functions():
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION:
            yield node.lineno, f"{node.name} has {length} lines"


def says_nothing(file: File) -> Break:
    """Public things without a docstring; methods of private classes are private."""
    if not ast.get_docstring(file.tree):
        yield 1, "file without docstring"
    public = [n for n in file.tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    for owner in (file.tree, *public):
        for node in owner.body:
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                continue
            overload = any(ast.unparse(d) == "overload" for d in node.decorator_list)
            if not node.name.startswith("_") and not overload and not ast.get_docstring(node):
                yield node.lineno, node.name


def leaves_types_out(file: File) -> Break:
    for node in file.functions():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        if bare or node.returns is None:
            yield node.lineno, f"{node.name}: {bare or 'return'}"


def leaves_marks(file: File) -> Break:
    for number, line in enumerate(file.text.splitlines(), 1):
        if any(mark in line for mark in ("TO" + "DO", "FIX" + "ME", "XX" + "X")):
            yield number, line.strip()


RULES: dict[Callable[[File], Break], File] = {
    prints: File("store/a.py", "print(1)"),
    catches_everything: File("engine/a.py", "try:\n    f()\nexcept Exception:\n    pass"),
    unpickles: File("store/a.py", "import pickle\npickle.loads(b'')"),
    reads_unsafely: File("store/a.py", "np.load(f)"),
    draws: File("condense/a.py", "x = np.random.rand(3)"),
    counts_classes: File("teachers/a.py", "CLASSES = 1000"),
    asserts: File("config/a.py", "assert x"),
    asks_for_a_method: File("engine/a.py", "if method == 'cda':\n    f()"),
    is_long: File("a.py", "\n" * (MAX_LINES + 1)),
    says_nothing: File("a.py", '"""A file."""\ndef f() -> None:\n    return'),
    leaves_types_out: File("a.py", "def f(x):\n    return x"),
    leaves_marks: File("a.py", "# TO" + "DO later"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_file(rule: Callable[[File], Break]) -> None:
    assert [f"{file.path}:{line}: {what}" for file in FILES for line, what in rule(file)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_sees(rule: Callable[[File], Break]) -> None:
    assert len(list(rule(RULES[rule]))) == 1


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (catches_everything, "try:\n    f()\nexcept:\n    g()"),
        (catches_everything, "try:\n    f()\nexcept BaseException:\n    g()"),
        (reads_unsafely, "torch.load(f, weights_only=False)"),
        (reads_unsafely, "tar.extractall(path)"),
        (reads_unsafely, "yaml.load(f)"),
        (draws, "import random"),
        (draws, "torch.manual_seed(0)"),
        (draws, "torch.randn(3)"),
        (draws, "rng = np.random.default_rng(0)"),
        (is_long, "def f():\n" + "    x = 1\n" * MAX_FUNCTION),
    ],
)
def test_the_rule_sees_also(rule: Callable[[File], Break], text: str) -> None:
    assert len(list(rule(File("condense/a.py", text)))) == 1
