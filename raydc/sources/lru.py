"""A cache bounded by bytes that forgets what was used longest ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Values by key with their sizes; the newest is kept even if it alone exceeds the bound, since it is in use."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, load: Callable[[], tuple[Value, int]]) -> Value:
        """The value of a key, made by ``load`` as (value, bytes) where it is not at hand."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key][0]
        value, size = load()
        self._values[key] = value, size
        self.used += size
        while self.used > self.limit and len(self._values) > 1:
            _, (_, freed) = self._values.popitem(last=False)
            self.used -= freed
        return value
