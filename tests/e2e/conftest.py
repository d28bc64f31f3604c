from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import tiny


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
    with tiny.shared(tmp_path_factory, "reference") as folder:
        config, said = folder / "tiny.yaml", folder / "said.json"
        if not said.exists():
            shutil.rmtree(folder / "run", ignore_errors=True)  # of another worker, which failed
            said.write_text(json.dumps(tiny.run("run", tiny.write(folder), cwd=folder)))
        return Reference(config, folder / "run", *json.loads(said.read_text()))


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    """Ray in this process, for commands that are called and not started."""
    with tiny.ray_here():
        yield


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Call a command that must fail with this exit code; what it says on standard error."""

    def failing(expected: int, *arguments: str | Path) -> str:
        capsys.readouterr()
        code = tiny.code(*arguments)
        out, err = capsys.readouterr()
        assert code == expected, err
        assert "Traceback" not in out + err
        assert err.startswith("error: "), err
        return err.removeprefix("error: ")

    return failing
