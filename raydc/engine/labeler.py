"""The actor of the relabel stage: one shard's views, the teachers' answers, and a label shard of each label set.

Labels are made of what a reader will decode, never of the tensors that synthesis had in memory. The teachers are asked
once for a view, whatever number of sets keeps the answer, and answers become bytes on the device that gave them.
"""

from __future__ import annotations

import hashlib
import time
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import torch

from raydc.condense import codecs
from raydc.config import digest as digest_of
from raydc.config.axes.execution import EAGER
from raydc.config.stages.relabel import LabelSetConfig, RelabelConfig
from raydc.engine.behind import Behind
from raydc.engine.context import working_on
from raydc.engine.device import device
from raydc.engine.ensemble import answer, answers, teacher_names, teachers, together
from raydc.engine.execution.labelling import labelling
from raydc.engine.pipeline import Batch, told
from raydc.engine.receipts import stamp
from raydc.engine.run import Run
from raydc.engine.weights import read_record
from raydc.errors import ConfigError
from raydc.keys import Key
from raydc.labels.codecs import Codec, codec_of
from raydc.labels.codecs.base import HALF_MAX, checked
from raydc.labels.fidelity import agreement, fidelity, information
from raydc.labels.views import COLUMNS, draw
from raydc.plan.items import LABEL_FILE_BYTES
from raydc.sources.shard import ImageShard
from raydc.store.folder import Folder
from raydc.store.manifest import LabelFile, read
from raydc.store.schema import ImageFile
from raydc.store.shards import label_shard
from raydc.teachers.ensemble import Teachers
from raydc.teachers.teacher import TeacherRecord

TEMPERATURES = (1, 4, 20)
"""Where the codec's loss is measured."""
COMPARED = 32
"""Images of a shard of which eager answers are made too, to state what another execution changes; a whole batch where
it is part of an answer."""
Measured = dict[str, dict[str, float]]
Nearness = dict[str, Any]
"""``fidelity`` as a codec's, ``agreement`` and ``images``: :class:`raydc.store.schema.Executed`."""
View = tuple[int, np.ndarray, np.ndarray]
"""Its number, its records uint16 ``[N, 12]`` and its encoded labels uint8 ``[N, row_bytes]``."""


def settings(run: Run) -> RelabelConfig:
    """The relabel section.

    Raises:
        ConfigError: the run has none.
    """
    if run.config.relabel is None:
        raise ConfigError("this run has no soft labels: relabel is null in its config")
    return run.config.relabel


def records_of(run: Run) -> list[TeacherRecord]:
    """The records of the labelling teachers."""
    return [read_record(run.teachers(), name) for name in teacher_names(run.config)]


def receipts(run: Run, made: LabelSetConfig) -> Folder:
    """Where the receipts of a label set lie: other settings, teachers or arithmetic never take them for their own."""
    kept, how = made.model_dump(mode="json", exclude={"name"}), labelling(run)
    by = [settings(run).asked(), kept, [record.sha256 for record in records_of(run)]]
    by += [] if how == EAGER else [how.name]
    return run.work("relabel", f"{made.name}-{digest_of(by)[:8]}")


def unit(dataset: str, shard: int) -> str:
    """The name of a shard's receipt."""
    return f"{dataset}-{shard:06d}"


def views_key(run: Run, dataset: str, shard: int) -> Key:
    """Names the views of a shard, whoever asks for them: every label set of a run shows the same ones."""
    return run.key.child("relabel", dataset, shard)


def codec(made: LabelSetConfig) -> Codec:
    """The codec of a label set."""
    return codec_of(**made.codec.model_dump())


class Labeler:
    """The Ray Data actor: rows of (dataset, shard) in, receipts out."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.config = settings(run)
        self.receipts = [(s, receipts(run, s)) for s in self.config.sets]
        self.manifest = cache(lambda dataset: read(run.dataset(dataset)))
        self.device = device(run.config.engine)

    @cached_property
    def teachers(self) -> Teachers:
        """The labelling teachers; first asked for with a shard in hand: a constructor's error would arrive as text."""
        return teachers(self.run, self.device, labelling(self.run))

    def __call__(self, batch: Batch) -> Batch:
        return told(batch, self._labelled)

    def _labelled(self, row: dict[str, Any]) -> None:
        with working_on(self.run, f"shard {row['shard']} of {row['dataset']}", "relabel"):
            self.label(row["dataset"], row["shard"])

    def label(self, dataset: str, shard: int) -> None:
        """Label one shard for every set that lacks it, and leave the receipts."""
        began, name = time.time(), f"{unit(dataset, shard)}.json"
        # A set that was labelled before, or that a worker which was given up came to the end of, has one.
        todo = [(s, folder) for s, folder in self.receipts if not folder.exists(name)]
        if not todo:
            return
        folder, manifest = self.run.dataset(dataset), self.manifest(dataset)
        image_file = manifest.images.files[shard]
        stored = ImageShard(folder, manifest, image_file, check_digest=True).images(np.arange(image_file.samples))
        images = torch.from_numpy(stored.transpose(0, 3, 1, 2).copy()).to(self.device)
        key = views_key(self.run, dataset, shard)
        parts = [_Part(folder, s, shard, image_file, self.teachers.classes) for s, _ in todo]
        near: Nearness | None = None
        with Behind() as behind:  # answers become bytes and files while the teachers look at the next view
            for view in range(max(s.views for s, _ in todo)):
                records, logits = self._answered(images, key.child(view))
                behind.do(partial(_add, [p for p in parts if view < p.made.views], view, records, logits))
                if view == 0 and self.teachers.execution != EAGER:
                    near = self._near(images, records, key.child(view), logits)
        meta = {
            **stamp(began),
            "image_steps": len(images) * max(s.views for s, _ in todo),
            "bytes": sum(file["bytes"] for part in parts for file in part.files),
        }
        for part, (_, place) in zip(parts, todo, strict=True):
            measured = {"fidelity": part.measured, "execution": near}
            place.write_json(name, {"files": part.files, "count": len(images), **measured, "meta": meta})

    def _answered(self, images: torch.Tensor, key: Key) -> tuple[np.ndarray, torch.Tensor]:
        """One view of a shard: its records uint16 ``[N, 12]``, and the teachers' answers float32 ``[N, K]``."""
        size = self.run.config.data.image_size
        records = draw(key, len(images), images.shape[2], images.shape[3], size, self.config.view)
        return records, answers(self.teachers, images, records, size, key)

    def _near(self, images: torch.Tensor, records: np.ndarray, key: Key, logits: torch.Tensor) -> Nearness:
        """What the execution changes of the first answers to a view, held against the eager teachers."""
        rows, size = together(self.teachers, len(images), key)[0], self.run.config.data.image_size
        rows = rows if self.teachers.together else rows[:COMPARED]
        plain = answer(self.teachers.plain, images, records, size, rows)
        return nearness(plain, logits[torch.from_numpy(rows).to(logits.device)])


def _add(parts: list[_Part], view: int, records: np.ndarray, logits: torch.Tensor) -> None:
    for part in parts:
        part.add(view, records, logits)


class _Part:
    """What a label set keeps of one shard, written file by file: the cuts are the same whatever else is made beside."""

    def __init__(self, folder: Folder, made: LabelSetConfig, shard: int, image_file: ImageFile, classes: int) -> None:
        self.made, self.files, self.measured = made, list[dict[str, Any]](), Measured()
        self._folder, self._shard, self._image_file, self._codec = folder, shard, image_file, codec(made)
        view_bytes = image_file.samples * (self._codec.row_dtype(classes).itemsize + 2 * len(COLUMNS))
        self._step = max(1, LABEL_FILE_BYTES // view_bytes)
        self._views: list[View] = []

    def add(self, view: int, records: np.ndarray, logits: torch.Tensor) -> None:
        """Keep one view; of the first one also what the codec loses."""
        rows = encoded(logits, self._codec)
        if view == 0:
            self.measured = loss(logits.cpu().numpy(), rows, self._codec)
        self._views.append((view, records, rows))
        if len(self._views) == self._step or view + 1 == self.made.views:
            self._write()

    def _write(self) -> None:
        tar, members = label_shard(self._views)
        first, last = self._views[0][0], self._views[-1][0]
        # With its digest: what other settings or a late twin wrote never stands under the name of a receipt.
        digest = hashlib.sha256(tar).hexdigest()[:12]
        path = f"labels/{self.made.name}/train-{self._shard:06d}-v{first:04d}-{last:04d}-{digest}.tar"
        receipt = self._folder.write(path, tar)
        file = LabelFile(
            path=receipt.path, bytes=receipt.bytes, sha256=receipt.sha256, images=self._image_file.path,
            views=(first, last + 1), members=members, keys_sha256=self._image_file.keys_sha256,
        )  # fmt: skip
        self.files.append(file.model_dump())
        self._views = []


def encoded(logits: torch.Tensor, codec: Codec) -> np.ndarray:
    """Logits float32 ``[N, K]`` as rows uint8 ``[N, row_bytes]``: made on a GPU where they are, and by NumPy elsewhere,
    which is faster on a CPU (up to five times for top_k).

    Raises:
        DataError: a value that cannot be stored.
    """
    if logits.device.type == "cpu":
        return codec.encode(logits.numpy())
    if not bool((logits.abs() <= HALF_MAX).all()):
        checked(logits.cpu().numpy())
    return codecs.encode(logits, codec).cpu().numpy()


def loss(logits: np.ndarray, rows: np.ndarray, codec: Codec) -> Measured:
    """What a codec loses of labels, mean nats at each temperature, beside what there is to lose.

    Args:
        logits: before storage, float32 ``[N, K]``.
        rows: stored, uint8 ``[N, row_bytes]``.
        codec: between the two.
    """
    return {f"T{t}": _lost(logits, codec.decode(rows, logits.shape[1], t), t) for t in TEMPERATURES}


def nearness(plain: torch.Tensor, logits: torch.Tensor) -> Nearness:
    """What an execution changes of labels: answers of the eager teachers and its own, both float32 ``[N, K]``."""
    one, other = plain.cpu().numpy(), logits.cpu().numpy()
    lost = {f"T{t}": _lost(one, other, t) for t in TEMPERATURES}
    return {"fidelity": lost, "agreement": agreement(one, other), "images": len(one)}


def _lost(z: np.ndarray, other: np.ndarray, temperature: int) -> dict[str, float]:
    return {"kl_mean": fidelity(z, other, temperature), "information": information(z, temperature)}
