"""What the pool knows of the machines it works on: which are leaving, which are gone, which spoil what they touch."""

from __future__ import annotations

import time
from collections import Counter

from raydc.engine.cluster import alive_nodes, draining_nodes

STRIKES = 3
"""Failures in a row on one node, while others finish units, after which it is avoided: its device may be broken, and a
node that fails at once takes more units than one that works."""
AVOID_SECONDS = 600.0
"""How long a node is avoided; then it gets another chance, for the others may be gone by then."""


class Nodes:
    """The nodes by their ids. :meth:`look` asks Ray; everything else is a tally."""

    def __init__(self) -> None:
        self.leaving: set[str] = set()
        self.alive: set[str] = set()
        self.finished = 0
        self._strikes: Counter[str] = Counter()
        self._since: dict[str, int] = {}
        """How many units had been finished anywhere when a node's row of failures began."""
        self._avoided: dict[str, float] = {}

    def look(self) -> None:
        """Ask which nodes there are and which have been told to leave."""
        self.leaving, self.alive = draining_nodes(), alive_nodes()

    def avoided(self) -> frozenset[str]:
        """The nodes that no new worker should be put on."""
        now = time.monotonic()
        self._avoided = {node: until for node, until in self._avoided.items() if until > now}
        return frozenset(self._avoided)

    def worked(self, node: str) -> None:
        """A unit was finished there."""
        self.finished += 1
        self._strikes.pop(node, None)

    def failed(self, node: str) -> bool:
        """Something failed there that may be the node's fault; whether the node is avoided from now on because of it.

        Only where others finish units meanwhile: what fails everywhere is not the fault of a node.
        """
        if not node or node in self._avoided:
            return False
        if not self._strikes[node]:
            self._since[node] = self.finished
        self._strikes[node] += 1
        if self._strikes[node] < STRIKES or self.finished == self._since[node]:
            return False
        del self._strikes[node]
        self._avoided[node] = time.monotonic() + AVOID_SECONDS
        return True
