"""An actor that fails in the middle of a block, in every way there is."""

from __future__ import annotations

import ray

from raydc.engine.context import working_on
from raydc.engine.run import Run
from raydc.errors import ConfigError, DataError, StorageError

BLOCK = "block i00000-c000100 of condensed"


class Odd(Exception):
    """An exception that does not survive pickling, as many libraries have them."""

    def __init__(self, code: int, detail: object) -> None:
        super().__init__(f"code {code}")
        self.detail = detail


class Broken:
    """An actor that fails in the middle of a block."""

    def __init__(self, run: Run) -> None:
        self.run, self.step = run, 0

    def work(self, failing: str) -> None:
        with working_on(self.run, BLOCK, "synthesize.steps", range(9), lambda: f"step {self.step} of 60"):
            self.step = 37
            if failing == "input":
                raise DataError("an image is broken")
            if failing == "storage":
                raise StorageError("s3://bucket did not answer for 600 s")
            if failing == "inner":
                ray.get(ray.remote(refuse).remote())
            raise Odd(719, lambda: 0) if failing == "odd" else RuntimeError("CUDA error:\n device-side assert")


def refuse() -> None:
    raise ConfigError("no such layer")
