"""A block that is handed back and taken up elsewhere: no Ray, the same bytes."""

from __future__ import annotations

import math
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from raydc.config.axes.execution import EAGER
from raydc.engine.block_maker import BlockMaker, Work
from raydc.engine.in_flight import InFlight
from raydc.engine.pool import Committing
from raydc.engine.synthesize import recipe
from raydc.engine.synthesizer import Synthesizer
from raydc.errors import DataError
from raydc.store.tar import read
from tests.engine.small import STEPS, Small, small


class After(Event):
    """A notice that comes when it is looked for the n-th time, counted from 0."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.left = looks

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


class Worker:
    """What a worker has in hand when a block comes."""

    def __init__(self, folder: Path, changes: dict[str, Any] | None = None) -> None:
        self.small: Small = small(folder, changes)
        self.maker = BlockMaker(self.small.run, recipe(self.small.run, "condensed"), self.small.source)
        self.block = self.small.blocks[1]
        self.checkpoint = folder / "work/checkpoints/condensed" / f"{self.block.id}.safetensors"
        self.parts = folder / "blocks/condensed"

    @property
    def part(self) -> bytes:
        """The part of the block; b"" if there is none."""
        found = list(self.parts.glob("*.tar"))
        assert len(found) <= 1
        return found[0].read_bytes() if found else b""

    def take(self, leaving: Event) -> dict[str, Any] | None:
        flight = InFlight(self.maker, Work("condensed", (self.block,)), leaving)
        return flight.write(0) if flight.make() else None


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, Any]]:
    worker = Worker(tmp_path_factory.mktemp("undisturbed"))
    marker = worker.take(Event())
    assert marker is not None and marker["image_steps"] == STEPS * len(marker["entries"])
    return worker.part, marker


@pytest.mark.parametrize("step", [1, 5, 6, 37, STEPS - 1])
def test_a_block_that_is_handed_back_ends_with_the_same_bytes(
    step: int, undisturbed: tuple[bytes, dict[str, Any]], tmp_path: Path
) -> None:
    worker = Worker(tmp_path)
    assert worker.take(After(step)) is None
    assert worker.checkpoint.exists() and not worker.part
    marker = worker.take(Event())
    assert worker.part == undisturbed[0]
    assert marker == {**undisturbed[1], "image_steps": (STEPS - step) * len(undisturbed[1]["entries"])}


def test_a_block_that_is_handed_back_again_and_again_ends_with_the_same_bytes(
    undisturbed: tuple[bytes, dict[str, Any]], tmp_path: Path
) -> None:
    worker = Worker(tmp_path)
    taken = [worker.take(After(steps)) for steps in (7, 0, 13, 25)]
    assert taken == [None] * 4
    marker = worker.take(Event())
    assert marker is not None and marker["image_steps"] == (STEPS - 7 - 13 - 25) * len(marker["entries"])
    assert worker.part == undisturbed[0]


def test_a_notice_before_the_first_step_costs_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    assert worker.take(After(0)) is None
    assert not worker.checkpoint.exists() and not worker.part


def test_a_notice_after_the_last_step_is_too_late_to_hand_back(
    undisturbed: tuple[bytes, dict[str, Any]], tmp_path: Path
) -> None:
    worker = Worker(tmp_path)
    assert worker.take(After(STEPS)) == undisturbed[1]
    assert worker.part == undisturbed[0]


def test_a_killed_worker_loses_no_more_than_the_steps_since_its_checkpoint(
    undisturbed: tuple[bytes, dict[str, Any]], tmp_path: Path
) -> None:
    class Killed(BaseException):
        """Nothing catches it."""

    class Killer(After):
        def is_set(self) -> bool:
            if super().is_set():
                raise Killed
            return False

    worker = Worker(tmp_path)
    with pytest.raises(Killed):
        worker.take(Killer(16))
    marker = worker.take(Event())
    assert marker is not None and marker["image_steps"] == (STEPS - 12) * len(marker["entries"])
    assert worker.part == undisturbed[0]


def test_the_checkpoint_stays_until_the_marker_is_there(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    flight = InFlight(worker.maker, Work("condensed", (worker.block,)), Event())
    assert flight.make() and flight.write(0)
    assert worker.checkpoint.exists(), "killed before its marker, the block would begin anew"
    flight.forget()
    flight.forget()
    assert not worker.checkpoint.exists()


def test_a_part_holds_the_images_and_the_pictures_of_the_way(undisturbed: tuple[bytes, dict[str, Any]]) -> None:
    data, marker = undisturbed
    names = [name for name, _ in read(data, "the part")]
    images = len(marker["entries"])
    assert names[:images] == [f"{n:06d}.png" for n in range(images)]
    assert names[images] == "step-00000000.png" and names[-1] == f"step-{STEPS:08d}.png"
    assert list(marker["members"]) == names and marker["shown"] == marker["number"] % images


def test_a_launch_that_is_handed_back_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Blocks of a launch share a checkpoint, and each has its own part, pictures and history."""
    worker, again = Worker(tmp_path / "whole"), Worker(tmp_path / "cut")
    work = Work("condensed", tuple(worker.small.blocks[::2]))
    flights = [InFlight(maker, work, Event()) for maker in (worker.maker, again.maker)]
    assert flights[0].make()
    whole = [flights[0].write(n) for n in range(2)]
    assert [m["block"] for m in whole] == [b.id for b in work.blocks]
    assert not InFlight(again.maker, work, After(7)).make()
    assert [p.name for p in again.checkpoint.parent.iterdir()] == [f"{work.name}.safetensors"]
    assert flights[1].make()
    cut = [flights[1].write(n) for n in range(2)]
    for one, other, block in zip(whole, cut, work.blocks, strict=True):
        assert one["image_steps"] == STEPS * len(block) and other.pop("image_steps") == (STEPS - 7) * len(block)
        assert {**other, "image_steps": one["image_steps"]} == one
    assert whole[0]["history"] != whole[1]["history"] and whole[0]["sha256"] != whole[1]["sha256"]


def test_a_block_of_a_launch_has_the_pictures_that_it_has_alone(tmp_path: Path) -> None:
    """To a grey level: only the rounding of a larger batch is another."""
    worker = Worker(tmp_path)
    blocks = tuple(worker.small.blocks[::2])
    together = worker.maker.synthesis(blocks)
    together.run(lambda _: True)
    for n, block in enumerate(blocks):
        alone = worker.maker.synthesis([block])
        alone.run(lambda _: True)
        apart = (alone.pixels().int() - together.pixels().chunk(2)[n].int()).abs()
        assert apart.max() <= 1


def test_parts_do_not_depend_on_how_often_checkpoints_are_written(
    undisturbed: tuple[bytes, dict[str, Any]], tmp_path: Path
) -> None:
    worker = Worker(tmp_path, {"synthesize": {"checkpoint_every": 1000}})
    assert worker.take(Event()) is not None
    assert worker.part == undisturbed[0] and not worker.checkpoint.exists()


def test_no_more_than_one_launch_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that is slow holds up the next commit but one, and with it the making: pictures must not pile up."""
    made = small(tmp_path)
    written, going_on = list[str](), Event()

    class Slow(InFlight):
        def write(self, place: int) -> dict[str, Any]:
            assert going_on.wait(60)
            written.append(self.blocks[place].id)
            return super().write(place)

    monkeypatch.setattr("raydc.engine.synthesizer.InFlight", Slow)
    monkeypatch.setattr("raydc.engine.synthesizer.stamp", lambda began: {"began": began, "seconds": 0.0})
    actor = Synthesizer(made.run, {"random": recipe(made.run, "random")}, [])
    actor.source = made.source
    first, second = (Work("random", (block,)) for block in made.blocks[:2])
    assert isinstance(actor.run(first), Committing)
    next_run = Thread(target=actor.run, args=(second,), daemon=True)
    next_run.start()
    next_run.join(1.0)
    assert next_run.is_alive() and not written
    going_on.set()
    next_run.join(60)
    assert not next_run.is_alive()
    receipts = [actor.committed(work) for work in (first, second)]
    assert written == [work.blocks[0].id for work in (first, second)]
    assert [receipt["bytes"] > 0 for receipt in receipts] == [True, True] and not actor.commits


def test_a_block_that_diverged_does_not_take_the_others_of_its_launch_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small(tmp_path)
    work = Work("condensed", tuple(made.blocks[::2]))

    class Diverging(InFlight):
        def make(self) -> bool:
            done = super().make()
            self.histories[0]["cross_entropy"][-1] = math.nan
            return done

    monkeypatch.setattr("raydc.engine.synthesizer.InFlight", Diverging)
    monkeypatch.setattr("raydc.engine.synthesizer.settled", lambda _: EAGER)
    monkeypatch.setattr("raydc.engine.synthesizer.stamp", lambda began: {"began": began, "seconds": 0.0})
    actor = Synthesizer(made.run, {"condensed": recipe(made.run, "condensed")}, [])
    actor.source = made.source
    assert isinstance(actor.run(work), Committing)
    with pytest.raises(DataError, match=f"block {work.blocks[0].id} diverged: .*cross_entropy is not finite"):
        actor.committed(work)
    assert [p.stem for p in (tmp_path / "blocks/condensed").glob("*.json")] == [work.blocks[1].id]
