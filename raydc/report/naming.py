"""What each kind of data is called and coloured, the same in every figure of the report."""

from __future__ import annotations

from typing import Any

KINDS = {"condensed": "condensed", "random": "random", "full": "full", "noise": "noise", "first step": "first"}
NAMES = {"condensed": "condensed", "random": "random real", "full": "all real data"}

Tree = dict[str, Any]
"""What the template is given."""


def kind(data: str) -> str:
    """Return the colour class of a kind of data: the same in every chart of the page."""
    return KINDS.get(data, "other")
