"""Names in the configuration are the names in the code, and every setting is read somewhere."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from raydc import config
from raydc.condense.augment import AUGMENTATIONS
from raydc.condense.discrepancy import DISCREPANCIES
from raydc.condense.initialize import INITIALIZERS
from raydc.config.axes.augment import Augment
from raydc.config.axes.codec import Codec
from raydc.config.axes.discrepancy import Discrepancy
from raydc.config.axes.initialize import Initialize
from raydc.config.axes.optimize import Optimizer, Schedule
from raydc.config.axes.views import Mix
from raydc.config.base import Strict
from raydc.config.schema import MethodCard, RunConfig
from raydc.config.stages.data import DataConfig
from raydc.config.stages.evaluate import Loss
from raydc.config.stages.networks import Arch
from raydc.config.stages.pack import PackConfig
from raydc.config.stages.relabel import Ensemble, RelabelConfig
from raydc.config.stages.synthesize import BlockConfig, TeacherPool
from raydc.engine.listing import AXES, SAMPLINGS
from raydc.labels.codecs import CODECS
from raydc.labels.views import MIXES
from raydc.plan.blocks import GROUPS
from raydc.plan.cost import IMAGE_BYTES_PER_PIXEL
from raydc.sources.base import FIND
from raydc.teachers.libraries import LIBRARIES
from raydc.teachers.schedule import SCHEDULES
from raydc.teachers.small import SMALL

PACKAGE = Path(config.__file__).parents[1]


def literals(model: Any, field: str) -> set[str]:
    return set(get_args(model.model_fields[field].annotation))


def members(union: Any) -> dict[str, type[Strict]]:
    """The records of an axis by the name that ``use`` gives."""
    models = get_args(get_args(union)[0])
    return {name: m for m in models for name in literals(m, "use")}


# ---- every record has its component -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("union", "table"),
    [
        (Augment, AUGMENTATIONS),
        (Discrepancy, DISCREPANCIES),
        (Initialize, INITIALIZERS),
        (Schedule, SCHEDULES),
        (Mix, MIXES),
        (Codec, CODECS),
    ],
    ids=["augment", "discrepancy", "initialize", "schedule", "mix", "codec"],
)
def test_every_record_of_an_axis_is_a_registered_component(union: Any, table: dict[str, Any]) -> None:
    assert set(members(union)) == set(table)


@pytest.mark.parametrize(
    ("package", "union"),
    [("augment", Augment), ("discrepancy", Discrepancy), ("initialize", Initialize)],
)
def test_every_component_has_a_file_of_its_name_with_a_card(package: str, union: Any) -> None:
    for name in members(union):
        card = importlib.import_module(f"raydc.condense.{package}.{name}").__doc__ or ""
        assert "Source" in card and "Not for" in card, f"{package}/{name}.py says not where it is from or not for"


def test_every_network_has_a_file_of_its_name_with_a_card() -> None:
    for name in SMALL:
        assert "Not for" in (importlib.import_module(f"raydc.teachers.small.{name}").__doc__ or ""), name


@pytest.mark.parametrize(
    ("model", "field", "known"),
    [
        (BlockConfig, "group", {*GROUPS}),
        (TeacherPool, "sampling", {*SAMPLINGS}),
        (PackConfig, "format", {*IMAGE_BYTES_PER_PIXEL}),
        (Arch, "use", {*LIBRARIES}),
        (DataConfig, "use", {*FIND, "none"}),
    ],
    ids=lambda v: getattr(v, "__name__", v if isinstance(v, str) else ""),
)
def test_every_choice_is_known_to_the_code(model: Any, field: str, known: set[str]) -> None:
    assert literals(model, field) == known


@pytest.mark.parametrize(
    ("names", "room"),
    [
        ({n: m.__name__ for n, m in members(Loss).items()}, "teachers students"),
        ({n: m.__name__ for n, m in members(Optimizer).items()}, "teachers"),
        (dict.fromkeys(literals(TeacherPool, "sampling") - {"single"}, ""), "condense"),
        (dict.fromkeys(literals(Ensemble, "combine") - {"single", "mean"}, ""), "teachers"),
        (dict.fromkeys(literals(RelabelConfig, "mode") - {"stored"}, ""), "engine students"),
    ],
    ids=["loss", "optimizer", "sampling", "combine", "mode"],
)
def test_every_choice_without_a_table_is_named_in_its_room(names: dict[str, str], room: str) -> None:
    """A choice that the code tells apart by a word, or by the class of its record; the default may be what is left."""
    nodes = [node for folder in room.split() for node in walk(PACKAGE / folder)]
    words = {n.value for n in nodes if isinstance(n, ast.Constant)} | {n.id for n in nodes if isinstance(n, ast.Name)}
    told_apart = {name for name, record in names.items() if name in words or record in words}
    assert len(names) - len(told_apart) <= (1 if all(names.values()) else 0), f"nobody knows {set(names) - told_apart}"


def test_every_axis_can_be_listed() -> None:
    lists = {axis: {*entries()} for axis, entries in AXES.items()}
    unions = {"initializers": Initialize, "augmentations": Augment, "discrepancies": Discrepancy, "mixes": Mix,
              "losses": Loss, "schedules": Schedule}  # fmt: skip
    assert {axis: lists[axis] for axis in unions} == {axis: {*members(union)} for axis, union in unions.items()}
    assert lists["blocks"] == {*GROUPS} and lists["codecs"] == {*CODECS} and lists["networks"] == {*SMALL}


# ---- every setting is read --------------------------------------------------------------------------------------
def walk(folder: Path) -> Iterator[ast.AST]:
    for path in folder.rglob("*.py"):
        yield from ast.walk(ast.parse(path.read_text()))


def records() -> list[type[Strict]]:
    modules = [importlib.import_module(m.name) for m in pkgutil.walk_packages(config.__path__, f"{config.__name__}.")]
    found = {
        item
        for module in modules
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Strict)
    }
    return sorted(found - {Strict}, key=lambda c: c.__name__)


def reads(nodes: Iterator[ast.AST]) -> set[str]:
    return {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}


@pytest.fixture(scope="module")
def attributes() -> set[str]:
    """Every attribute name that code outside ``config`` reads, or that a public method of a record reads for it."""
    rooms = [p for p in PACKAGE.iterdir() if p.name != "config"]
    found = {name for room in rooms if room.is_dir() for name in reads(walk(room))}
    for node in walk(PACKAGE / "config"):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found |= reads(ast.walk(node))
    return found


@pytest.mark.parametrize("record", records(), ids=lambda r: r.__name__)
def test_every_setting_is_read_by_the_code(record: type[Strict], attributes: set[str]) -> None:
    if record is MethodCard:  # for people; reports print it whole
        return
    unread = set(record.model_fields) - attributes
    assert not unread, f"{record.__name__} has settings that change nothing: {sorted(unread)}"


@pytest.mark.parametrize("record", records(), ids=lambda r: r.__name__)
def test_every_record_says_what_it_is(record: type[Strict]) -> None:
    assert record.__doc__ and record.__doc__ != Strict.__doc__


def test_all_records_are_found() -> None:
    assert {RunConfig, MethodCard, Ensemble, *members(Schedule).values()} <= {*records()}
