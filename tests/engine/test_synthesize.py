"""The synthesis stage on a real Ray: the same bytes from any number of workers, whatever happens to them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from raydc.engine.block_maker import Work
from raydc.engine.synthesize import recipe, works
from raydc.engine.synthesizer import Synthesizer
from raydc.errors import ClusterError, DataError
from tests import tiny
from tests.engine.actors import Log
from tests.engine.small import STEPS, Small, small

# Ray's own: it leaves files and sockets of its processes to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
ENGINE = {"cpus_per_worker": 0.5}


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    with tiny.ray_here():
        yield


@pytest.fixture(scope="module")
def alone(here: None, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """One worker, undisturbed."""
    made = small(tmp_path_factory.mktemp("alone") / "run", {"engine": ENGINE})
    made.synthesize(ray.put)
    return made


def test_one_worker_makes_every_block_once(alone: Small) -> None:
    names = [e["unit"] for e in alone.said("unit_done")]
    assert sorted(names) == sorted(alone.parts()) and len(names) == 8
    assert {m["meta"]["image_steps"] for m in alone.markers().values()} == {0, 3 * STEPS, 1 * STEPS}
    assert len({m["meta"]["worker"] for m in alone.markers().values()}) == 1


def test_blocks_that_are_done_are_not_done_again(alone: Small) -> None:
    count, before = len(alone.events), tiny.stamps(*Path(alone.run.url).glob("blocks/*/*"))
    alone.synthesize(ray.put)
    assert len(alone.events) == count and tiny.stamps(*Path(alone.run.url).glob("blocks/*/*")) == before


def test_four_workers_make_the_same_data_set(alone: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(str(tmp_path))

    class Together(Synthesizer):
        """Begins when all four have a block, so that each has its part in the work."""

        def run(self, work: Work) -> dict[str, Any] | None:
            log.add("block", str(os.getpid()))
            log.wait("block", 4)
            return super().run(work)

    monkeypatch.setattr("raydc.engine.synthesize.Synthesizer", Together)
    made = small(tmp_path / "run", {"engine": {**ENGINE, "workers": 4}})
    made.synthesize(ray.put)
    assert len(set(log.of("block"))) == 4  # of what they made, a copy may have been quicker
    assert made.parts() == alone.parts()
    assert made.pack() == alone.pack()


def test_launches_of_several_blocks_make_every_block_once(alone: Small, tmp_path: Path) -> None:
    """A launch of which one marker is missing is made again as a whole, and comes out the same."""
    made = small(tmp_path, {"engine": {**ENGINE, "blocks_per_launch": 3}})
    made.synthesize(ray.put)
    names = [e["unit"] for e in made.said("unit_done")]
    assert set(made.parts()) == set(alone.parts())
    assert {name for name in names if name.startswith("condensed/") and name.endswith("-x2")} and len(names) == 6
    steps = sum(e["image_steps"] for e in made.said("unit_done"))
    assert steps == sum(e["image_steps"] for e in alone.said("unit_done"))
    drawn = {name for name in alone.parts() if name.startswith("random/")}
    assert drawn <= set(names) and {n: made.parts()[n] for n in drawn} == {n: alone.parts()[n] for n in drawn}

    before, lost = made.parts(), next(tmp_path.glob("blocks/condensed/*.json"))
    lost.unlink()
    made.events.clear()
    made.synthesize(ray.put)
    (unit,) = [e["unit"] for e in made.said("unit_done")]
    own = next(work for work in works(made.run, recipe(made.run, "condensed"), made.blocks) if work.id == unit)
    assert made.parts() == before and lost.stem in {block.id for block in own.blocks}


def test_a_worker_that_is_killed_in_a_block_leaves_no_trace_in_it(
    alone: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(str(tmp_path))

    class Known(Synthesizer):
        """Tells its process."""

        def hello(self) -> str:
            log.add("hello", str(os.getpid()))
            return super().hello()

    monkeypatch.setattr("raydc.engine.synthesize.Synthesizer", Known)
    made = small(tmp_path / "run", {"engine": ENGINE})
    checkpoints = tmp_path / "run" / "work" / "checkpoints" / "condensed"

    def kill() -> None:
        log.wait("hello", 1)
        pid = int(log.of("hello")[0])
        tiny.wait_until(lambda: list(checkpoints.glob("*.safetensors")), 60, "a checkpoint")
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    made.synthesize(ray.put)
    killer.join()
    assert len(log.of("hello")) == 2
    (retry,) = made.said("unit_retried")
    assert retry["attempt"] == 1 and "died" in retry["error"] and "\n" not in retry["error"]
    marker = made.markers()[retry["unit"]]
    assert marker["meta"]["image_steps"] < STEPS * len(marker["entries"]), "it was begun again"
    assert made.parts() == alone.parts()
    assert not list(checkpoints.glob("*.safetensors"))


def test_a_block_that_always_fails_is_reported_and_the_others_are_done(
    alone: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "condensed/i00001-c000000"

    class Failing(Synthesizer):
        """Has a block that it cannot do."""

        def _run(self, work: Work) -> dict[str, Any] | None:
            if work.id == bad:
                raise RuntimeError("the device is on fire")
            return super()._run(work)

    made = small(tmp_path / "run", {"engine": {**ENGINE, "max_attempts": 2}})
    with monkeypatch.context() as patch, pytest.raises(ClusterError) as error:
        patch.setattr("raydc.engine.synthesize.Synthesizer", Failing)
        made.synthesize(ray.put)
    said = str(error.value)
    assert "1 of 8 blocks failed, the others are done" in said and "Traceback" not in said
    assert "run tiny, block i00001-c000000 of condensed, classes 1, 0, 7, " in said
    assert "RuntimeError at " in said and said.endswith(": the device is on fire")
    assert [(e["unit"], e["attempt"]) for e in made.said("unit_retried")] == [(bad, 1)]
    expected = alone.parts()
    del expected[bad]
    assert made.parts() == expected

    made.events.clear()
    made.synthesize(ray.put)
    assert [e["unit"] for e in made.said("unit_done")] == [bad] and made.parts() == alone.parts()


def test_a_block_that_diverges_is_refused_by_term_and_step(here: None, tmp_path: Path) -> None:
    wild = {"optimizer": {"lr": 1e30}, "clamp": False, "classes": ["1", "0", "7"], "ipc": 1}
    untested: dict[str, Any] = {"students": []}
    made = small(tmp_path / "run", {"engine": ENGINE, "synthesize": wild, "evaluate": untested})
    with pytest.raises(DataError) as error:
        made.synthesize(ray.put)
    said = str(error.value)
    assert "1 of 2 blocks failed" in said and "block i00000-c000000 diverged" in said
    assert "synthesize.objective term cross_entropy is not finite from step 9 on" in said
    assert "Lower synthesize.optimizer.lr" in said
    assert made.said("unit_retried") == [], "arithmetic does not get better by trying again"
    assert list(made.markers()) == ["random/i00000-c000000"]
