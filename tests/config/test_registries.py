"""Names in the configuration are the names in the code, and every setting is read somewhere."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_args

import pytest

from raydc.config import components, schema
from raydc.config.schema import Arch, BlockConfig, RelabelConfig
from raydc.labels.codecs import CODECS
from raydc.plan.blocks import GROUPS
from raydc.plan.cost import IMAGE_BYTES_PER_PIXEL, LABEL_BYTES

PACKAGE = Path(schema.__file__).parents[1]


def literals(model: Any, field: str) -> set[str]:
    return set(get_args(model.model_fields[field].annotation))


def test_codecs() -> None:
    assert literals(RelabelConfig, "codec") == set(CODECS) == set(LABEL_BYTES)


def test_block_groups() -> None:
    assert literals(BlockConfig, "group") == set(GROUPS)


def test_image_formats() -> None:
    assert literals(schema.PackConfig, "format") == set(IMAGE_BYTES_PER_PIXEL)


def test_kinds_of_networks_and_sources_are_known_to_the_code() -> None:
    for model, room in ((Arch, "teachers"), (schema.DataConfig, "sources")):
        text = "\n".join(p.read_text() for p in (PACKAGE / room).glob("*.py"))
        missing = {kind for kind in literals(model, "use") if f'"{kind}"' not in text}
        assert not missing, f"{model.__name__}.use {missing} is nowhere in {room}"


def records() -> list[type[components.Strict]]:
    found = {
        item
        for module in (components, schema)
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, components.Strict)
    }
    return sorted(found - {components.Strict}, key=lambda c: c.__name__)


@pytest.fixture(scope="module")
def attributes() -> set[str]:
    """Every attribute name that code outside ``config`` reads."""
    files = [p for p in PACKAGE.rglob("*.py") if p.parent.name != "config"]
    nodes = (node for p in files for node in ast.walk(ast.parse(p.read_text())))
    return {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}


@pytest.mark.parametrize("record", records(), ids=lambda r: r.__name__)
def test_every_setting_is_read_by_the_code(record: type[components.Strict], attributes: set[str]) -> None:
    unread = set(record.model_fields) - attributes
    if record is schema.MethodCard:  # for people; reports print it whole
        return
    assert not unread, f"{record.__name__} has settings that change nothing: {sorted(unread)}"


@pytest.mark.parametrize("record", records(), ids=lambda r: r.__name__)
def test_every_record_says_what_it_is(record: type[components.Strict]) -> None:
    assert record.__doc__ and record.__doc__ != components.Strict.__doc__
