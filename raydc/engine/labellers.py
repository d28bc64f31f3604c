"""A pool of labellers: teachers in actors of their own that label ahead of a student, through Ray Data.

One stream carries all epochs, and the students that one worker trains one after another: teachers are loaded once. A
row of it names views of shards in the order in which they will be shown; an actor answers all images of each, and the
blocks come back in that order (``preserve_order``). Nothing is stored. What is on its way is bounded by ``AHEAD`` rows
a labeller, each of ``UNIT_IMAGES`` images or one larger shard, at 4 K bytes an image of K classes: the logits. The
images a student's worker reads as it does with stored labels, and it draws their views by the same keys. A labeller
that dies is replaced by Ray Data, and what it held is answered again, the same.

The worker of the student drives its stream, so both end together: after a failure the next worker opens one that begins
where the student's checkpoint is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import ray
import torch
from ray.data import ExecutionResources
from torch import distributed

from raydc.engine.capacity import for_data
from raydc.engine.context import working_on
from raydc.engine.device import device
from raydc.engine.ensemble import teachers
from raydc.engine.execution.labelling import labelling
from raydc.engine.live import Answer, LiveLabels, by_oneself
from raydc.engine.pipeline import patient
from raydc.engine.run import Run
from raydc.errors import DataError, StorageError
from raydc.sources.condensed import CondensedDataset
from raydc.teachers.ensemble import Teachers

Block = dict[str, np.ndarray]
UNIT_IMAGES = 1024
"""Images of a row at least, for Ray Data spends some 30 ms on one: a shard of the default size."""
AHEAD = 3
"""Rows a labeller that are answered before they are wanted."""
MOST_ROWS = 10_000
"""Rows of a stream; Ray Data is handed them one by one, which takes a second for a few thousand."""


class Piece(NamedTuple):
    """One view of all images of a shard."""

    dataset: str
    shard: int
    view: int
    images: int


class Pool:
    """The labellers of one worker, and the stream of what they answer."""

    def __init__(self, run: Run, count: int, classes: int) -> None:
        """Prepare; no labeller is started before something is asked for.

        Args:
            run: the run.
            count: labellers.
            classes: of the teachers' answers.
        """
        self._run, self._count, self._classes = run, count, classes
        self._rest: Iterator[Piece] = iter(())
        self._wanted: deque[Piece] = deque()
        self._blocks: Iterator[Block] = iter(())
        self._arrived: Block = {}
        self.opened = 0
        """Streams that were begun: as often were teachers loaded."""

    def begin(self, pieces: Iterable[Piece]) -> None:
        """Say all that will be asked for from now on, in order; a stream that is about to bring it goes on."""
        ahead = iter(pieces)
        first = next(ahead, None)
        if first is None or (self._wanted and self._wanted[0] == first):
            return
        self.close()
        self._rest = chain([first], ahead)

    def logits(self, piece: Piece) -> np.ndarray:
        """The answers to one view of a shard, float32 ``[images, K]``.

        Raises:
            DataError: a labeller could not read the images or the teachers. StorageError where to try again may help.
            ValueError: another piece is next.
        """
        if not self._wanted:
            self._open()
        if not self._wanted or self._wanted[0] != piece:
            raise ValueError(f"asked for {piece}, but the stream brings {next(iter(self._wanted), 'nothing')}")
        parts, lacking = [], piece.images
        while lacking:
            block = self._arrived or self._received()
            part, self._arrived = ({n: c[s] for n, c in block.items()} for s in (slice(lacking), slice(lacking, None)))
            if not len(self._arrived["view"]):
                self._arrived = {}
            if (part["view"] != piece.view).any() or (part["shard"] != piece.shard).any():
                raise ValueError(f"in place of {piece} came view {part['view'][0]} of shard {part['shard'][0]}")
            parts.append(part["logits"])
            lacking -= len(part["view"])
        self._wanted.popleft()
        return np.concatenate(parts)

    def close(self) -> None:
        """Let the labellers go."""
        self._blocks = iter(())  # what executes the stream ends with its last reference
        self._wanted.clear()
        self._arrived = {}

    def _open(self) -> None:
        rows = list(islice(units(self._rest), MOST_ROWS))
        if rows:
            self._wanted.extend(chain.from_iterable(rows))
            self._blocks = _stream(self._run, rows, self._count, self._classes)
            self.opened += 1

    def _received(self) -> Block:
        block = next(self._blocks)
        said = str(block["error"][0])
        if said:
            raise StorageError(said) if block["again"][0] else DataError(said)
        return block


def units(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    """Pieces joined to rows that are worth sending."""
    row: list[Piece] = []
    for piece in pieces:
        row.append(piece)
        if sum(p.images for p in row) >= UNIT_IMAGES:
            yield row
            row = []
    if row:
        yield row


def _stream(run: Run, rows: list[list[Piece]], count: int, classes: int) -> Iterator[Block]:
    """Send rows through labellers; their blocks, in order."""
    context = patient()
    context.execution_options.preserve_order = True
    held = max(sum(p.images for p in row) for row in rows) * 4 * classes
    context.execution_options.resource_limits = ExecutionResources(object_store_memory=count * AHEAD * held)
    items = [
        {"dataset": [p.dataset for p in r], "shard": [p.shard for p in r], "view": [p.view for p in r]} for r in rows
    ]
    pool = ray.data.ActorPoolStrategy(size=min(count, len(rows)), max_tasks_in_flight_per_actor=2)
    answered = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        LiveLabeler, fn_constructor_args=(run, classes), batch_size=1, **for_data(run.config.engine), compute=pool
    )
    return iter(answered.iter_batches(batch_size=None, batch_format="numpy"))


class LiveLabeler:
    """The Ray Data actor: a row of pieces in, a row for each of their images out."""

    def __init__(self, run: Run, classes: int) -> None:
        self.run, self.classes = run, classes
        self.device = device(run.config.engine)
        self.data = cache(self._data)

    @cached_property
    def teachers(self) -> Teachers:
        """The labelling teachers; first asked for with a piece in hand: a constructor's error would arrive as text."""
        return teachers(self.run, self.device, labelling(self.run))

    def __call__(self, batch: Block) -> Block:
        row = zip(*(batch[name][0] for name in ("dataset", "shard", "view")), strict=True)
        try:
            parts = [self._answered(str(dataset), int(shard), int(view)) for dataset, shard, view in row]
        except DataError as error:
            said = {"error": np.array([str(error)]), "again": np.array([isinstance(error, StorageError)])}
            return said | self._block(0, 0, np.zeros((1, self.classes)))
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        fine = np.zeros(len(whole["view"]), bool)
        return {"error": np.full(len(fine), "", object), "again": fine, **whole}

    def _answered(self, dataset: str, shard: int, view: int) -> Block:
        with working_on(self.run, f"view {view} of shard {shard} of {dataset}", "relabel"):
            data, labels = self.data(dataset)
            _, logits = labels.read(data.manifest.images.files[shard], view, True)
            if logits is None:
                raise ValueError("labels were asked for and none came")
            return self._block(shard, view, logits)

    def _block(self, shard: int, view: int, logits: np.ndarray) -> Block:
        rows = len(logits)
        return {"shard": np.full(rows, shard), "view": np.full(rows, view), "logits": logits.astype(np.float32)}

    def _data(self, dataset: str) -> tuple[CondensedDataset, LiveLabels]:
        data = CondensedDataset(self.run.dataset(dataset)).labelled_by(None)
        own = by_oneself(self.run, dataset, data, lambda: self.teachers, self.device)
        return data, LiveLabels(self.run, dataset, data, own)


def by_labellers(
    pool: Pool | None, dataset: str, classes: int, device: torch.device, group: distributed.ProcessGroup | None = None
) -> Answer:
    """Have labellers answer; the first rank of a group receives for all.

    Args:
        pool: of this worker; None on other ranks than the first.
        dataset: its name.
        classes: of the teachers' answers.
        device: of the group's tensors.
        group: of data-parallel ranks; None: alone.
    """

    def answer(shard: int, view: int, records: np.ndarray) -> np.ndarray:
        came = None if pool is None else pool.logits(Piece(dataset, shard, view, len(records)))
        if group is None:
            if came is None:
                raise ValueError("a worker that trains alone needs labellers of its own")
            return came
        whole = torch.empty(len(records), classes, device=device) if came is None else torch.from_numpy(came).to(device)
        distributed.broadcast(whole, src=distributed.get_global_rank(group, 0), group=group)
        return whole.cpu().numpy()

    return answer
