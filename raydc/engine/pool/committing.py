"""A unit that is made, and whose result is still on its way to the storage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Committing:
    """What an actor's ``run`` returns in place of a receipt, to be free for the next unit.

    Its ``committed(unit)`` then waits for the end, returns the receipt, and raises what went wrong.
    """
