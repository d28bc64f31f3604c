"""The templates of the pages, and the one sheet of styles that all of them share."""

from __future__ import annotations

from functools import cache
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup


@cache
def template(name: str) -> Template:
    """The template of this name; a value that it asks for and is not given is an error."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(_text(f"{name}.html.j2"))


def css() -> Markup:
    """The styles, to be put into a page as they are."""
    return Markup(_text("page.css"))


def _text(name: str) -> str:
    return resources.files("raydc.report").joinpath(name).read_text("utf-8")
