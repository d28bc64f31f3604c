"""Verifiers: do independent networks see the class in a picture? Beside its start and beside its first step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import ray
import torch

from raydc.config import digest
from raydc.config.stages.squeeze import TeacherConfig
from raydc.engine.block_maker import BlockMaker
from raydc.engine.capacity import options
from raydc.engine.failures import wait
from raydc.engine.parts import read_images
from raydc.engine.run import Run
from raydc.engine.squeeze import fetch
from raydc.engine.synthesize import recipe
from raydc.engine.weights import local_copy, read_record
from raydc.plan.blocks import Block
from raydc.sources.decode import decode, encode
from raydc.store.folder import Folder
from raydc.teachers.fit import count_hits, fractions
from raydc.teachers.teacher import Teacher, load

FILE = "verifiers.json"
BLOCKS = 20
"""Blocks that are looked at, drawn from all: enough to compare with, cheap at any scale."""
BATCH = 50

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


def verify(run: Run, blocks: list[Block], classes: list[str], source: list[Any], emit: Callable[..., None]) -> None:
    """Ask every verifier about the same pictures as they are stored, as they began, and after their first step.

    Writes ``verifiers.json``: a list of {verifier, made_by, data, top1, top5, count}, accuracies as fractions.
    """
    wanted = {(v.name, made_by(v)): v for v in run.config.evaluate.verifiers}
    answers = run.folder.read_json(FILE) if run.folder.exists(FILE) else []
    answers = [a for a in answers if (a["verifier"], a["made_by"]) in wanted]
    asked = {(a["verifier"], a["made_by"]) for a in answers}
    todo = {key: v for key, v in wanted.items() if key not in asked}
    if not todo:
        return
    for v in todo.values():
        if not folder_of(run, v).exists(f"{v.name}.json"):
            fetch(run, folder_of(run, v), [v], classes, source)
    chosen = sample(run, blocks)
    task = ray.remote(_ask).options(**options(run.config.engine))
    waiting = {task.remote(run, v, chosen, source): v for v in todo.values()}
    for ref, v in waiting.items():
        answers += [{"verifier": v.name, "made_by": made_by(v), **answer} for answer in wait([ref])[0]]
        emit("progress", text=f"verifier {v.name} has answered")
    run.folder.write_json(FILE, answers)


def made_by(config: TeacherConfig) -> str:
    """Eight hex digits that tell verifiers of one name apart."""
    return digest(config.model_dump(mode="json", by_alias=True))[:8]


def folder_of(run: Run, config: TeacherConfig) -> Folder:
    """Where a verifier's weights and record lie."""
    return run.folder.child("verifiers", made_by(config))


def sample(run: Run, blocks: Sequence[Block]) -> list[Block]:
    """Some blocks of all, in their order; the same at every call."""
    order = run.key.child("verifiers").permutation(len(blocks))
    return [blocks[i] for i in sorted(order[:BLOCKS].tolist())]


def _ask(run: Run, config: TeacherConfig, blocks: list[Block], source: list[Any]) -> list[dict[str, Any]]:
    """One verifier's answers about every kind of picture."""
    real = ray.get(source[0]) if run.config.data.use != "none" else None
    maker = BlockMaker(run, recipe(run, "condensed"), real)
    folder = folder_of(run, config)
    record = read_record(folder, config.name)
    verifier = load(record, local_copy(folder, f"{config.name}.safetensors", record.sha256), maker.device)
    kinds: list[tuple[str, Batches]] = [("condensed", _stored(run, blocks, maker.device))]
    if maker.guides:
        kinds = [(start_name(run), _early(maker, blocks, 0)), ("first step", _early(maker, blocks, 1)), *kinds]
    return [_answer(verifier, kind, batches) for kind, batches in kinds]


def start_name(run: Run) -> str:
    """What the pictures before the first step are called."""
    return "noise" if run.config.synthesize.initialize.use == "noise" else "start"


def _answer(verifier: Teacher, kind: str, batches: Batches) -> dict[str, Any]:
    counts = count_hits(verifier.logits, batches, verifier.device)
    top1, top5 = fractions(counts)
    return {"data": kind, "top1": top1, "top5": top5, "count": int(counts[2])}


def _early(maker: BlockMaker, blocks: list[Block], steps: int) -> Batches:
    """Blocks as they would have been stored after 0 or 1 steps: remade from their keys, encoded and decoded."""
    pack = maker.run.config.pack
    for block in blocks:
        synthesis = maker.synthesis([block])
        for _ in range(steps):
            synthesis.step()
        images = synthesis.pixels().permute(0, 2, 3, 1).numpy()
        kept = [decode(encode(image, pack.format, pack.quality), block.id) for image in images]
        yield from _batches(block, kept, maker.device)


def _stored(run: Run, blocks: list[Block], device: torch.device) -> Batches:
    for block in blocks:
        yield from _batches(block, read_images(run, "condensed", block), device)


def _batches(block: Block, images: Sequence[np.ndarray], device: torch.device) -> Batches:
    labels = torch.tensor(block.classes)
    for first in range(0, len(images), BATCH):
        pixels = torch.from_numpy(np.stack(images[first : first + BATCH])).permute(0, 3, 1, 2).to(device)
        yield pixels.float() / 255.0, labels[first : first + BATCH].to(device)
