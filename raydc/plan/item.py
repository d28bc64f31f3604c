"""One number of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Item:
    """One number of a plan."""

    stage: str
    key: str
    """Its name in JSON."""
    label: str
    """Its name for people."""
    value: Any
    unit: str = "count"
    """``count``, ``flop``, ``bytes``, ``hours``, ``seconds``, ``pace`` (in seconds), ``rate`` (a second), ``money``."""
    note: str = ""
    """What it rests on."""
