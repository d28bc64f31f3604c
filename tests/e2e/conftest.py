from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny

from raydc.engine.cluster import cluster


@dataclass(frozen=True)
class Reference:
    """The undisturbed run: where it lies and what it said. Nobody changes it; copy it."""

    config: Path
    folder: Path
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    config = tiny.write(folder)
    code, out, err = tiny.run("run", config, cwd=folder)
    return Reference(config, folder / "run", code, out, err)


@pytest.fixture(scope="package")
def here() -> Iterator[None]:
    """Ray in this process, as a driver starts it, for commands that are called and not started."""
    with tiny.ray_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        with cluster():
            yield
        tiny.wait_until(lambda: not tiny.processes(folder), 20, "Ray's processes to end")
