"""The command line: exit codes, and that every config of the repository is sound and costs what its source says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raydc import __version__
from raydc.cli import main
from raydc.engine.listing import AXES

CONFIGS = Path(__file__).parents[1] / "configs"


def code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


def test_it_says_which_version_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert code("--version") == 0 and capsys.readouterr().out == f"raydc {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected", "said"),
    [
        (["nosuch"], 2, "nosuch"),
        (["run"], 2, "config"),
        (["plan", str(CONFIGS / "imagenet1k-cda.yaml"), "--gpus", "0"], 2, "--gpus"),
        (["plan", str(CONFIGS / "quickstart.yaml"), "--rate", "0"], 2, "--rate 0: expected the image-steps"),
        (["check", "nofile.yaml"], 2, "nofile.yaml"),
        (["check", str(CONFIGS / "quickstart.yaml"), "--set", "synthesize.stepz=5"], 2, "did you mean 'steps'"),
        (["ls", "method"], 2, "did you mean 'methods'"),
        (["inspect", "nofolder"], 3, "raydc.json"),
        (["status", "nofolder"], 3, "status.json"),
    ],
)
def test_what_a_mistake_returns_and_says(
    arguments: list[str], expected: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(*arguments) == expected
    out, err = capsys.readouterr()
    assert said in err and "Traceback" not in out + err


@pytest.mark.parametrize("axis", ["methods", *AXES])
def test_every_axis_can_be_listed(axis: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code("ls", axis, "--folder", str(CONFIGS / "methods")) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 2


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_is_sound(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code("check", str(config)) == 0
    assert "sound" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("config", "images", "image_steps", "gflop", "label_bytes"),
    [
        # GFLOP of an image-step: forward and the gradient of the input, a multiply-add counted as two.
        ("imagenet1k-cda", 50_000, 2.0e8, 7.256, 30_360_000_000),
        ("imagenet1k-sre2l", 50_000, 2.0e8, 7.256, 30_360_000_000),
        ("imagenet21k-cda", 209_000, 4.18e8, 7.276, 17_519_216_000),
        ("tiny-imagenet-cda", 10_000, 4.0e7, 8.887, 424_000_000),
        ("cifar100-sre2l", 5_000, 5.0e6, 2.222, 448_000_000),
    ],
)
def test_plans_agree_with_the_published_arithmetic(
    config: str, images: int, image_steps: float, gflop: float, label_bytes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code("plan", str(CONFIGS / f"{config}.yaml"), "--rate", "1916", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["images"] == images and plan["image_steps"] == image_steps and plan["label_bytes"] == label_bytes
    assert plan["synthesis_flop"] / plan["image_steps"] / 1e9 == pytest.approx(gflop, abs=1e-3)
    assert plan["synthesis_hours"] == pytest.approx(image_steps / 1916 / 3600)
