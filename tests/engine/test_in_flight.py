"""A block that is handed back and taken up elsewhere: no Ray, the same bytes."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import pytest

from raydc.engine.block_maker import BlockMaker, Work
from raydc.engine.in_flight import InFlight
from raydc.engine.synthesize import recipe
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
        made = InFlight(self.maker, Work("condensed", (self.block,)), leaving).make()
        return None if made is None else made[0]


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
    assert flight.make() is not None
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
    whole = InFlight(worker.maker, work, Event()).make()
    assert whole is not None and [m["block"] for m in whole] == [b.id for b in work.blocks]
    assert InFlight(again.maker, work, After(7)).make() is None
    assert [p.name for p in (tmp_path / "cut/work/checkpoints/condensed").iterdir()] == [f"{work.name}.safetensors"]
    cut = InFlight(again.maker, work, Event()).make()
    assert cut is not None
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
