"""What the README shows as a config is one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from raydc.config import load
from raydc.engine.inspection import check_networks, planned
from raydc.engine.listing import methods
from raydc.plan.fleet import Fleet, Kind

ROOT = Path(__file__).parents[1]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    return tmp_path


def test_the_run_on_own_data_is_sound(checkout: Path) -> None:
    path = checkout / "my-run.yaml"
    path.write_text(next(b for b in blocks("yaml") if "name: my-run" in b))
    config = load(path)
    check_networks(config)
    assert planned(config, Fleet((Kind(1),))).as_dict()["images"] == 100


def test_a_method_of_ones_own_can_be_listed_and_run(checkout: Path) -> None:
    text = next(b for b in blocks("yaml") if "name: mine" in b)
    (checkout / "configs" / "methods" / "mine.yaml").write_text(text)
    assert "mine: Mine" in methods(checkout / "configs" / "methods")
    run = checkout / "configs" / "imagenet1k-lite0-demo.yaml"
    run.write_text(run.read_text().replace("extends: methods/cda.yaml", "extends: methods/mine.yaml"))
    config = load(run)
    assert config.method.name == "mine" and config.synthesize.objective[1].weight == 0.005


def test_every_named_file_exists() -> None:
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"raydc run (configs/\S+\.yaml)", text):
        assert (ROOT / path).exists(), path
