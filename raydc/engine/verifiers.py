"""Verifiers: do independent networks see the class in a picture? Beside its start and beside its first step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ray
import torch

from raydc.engine.pool import root_cause
from raydc.engine.run import Run
from raydc.engine.squeeze import fetch
from raydc.engine.synthesize import recipe
from raydc.engine.synthesizer import BlockMaker
from raydc.engine.weights import local_copy, read_record
from raydc.plan.blocks import Block
from raydc.sources.condensed import CondensedDataset
from raydc.store.folder import Folder
from raydc.teachers.fit import count_hits, fractions
from raydc.teachers.teacher import Teacher, load

FILE = "verifiers.json"
BLOCKS = 20
"""Blocks whose start and first step are looked at again: enough to compare with, cheap at any scale."""
BATCH = 50

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


def verify(run: Run, blocks: list[Block], classes: list[str], source: list[Any], emit: Callable[..., None]) -> None:
    """Ask every verifier about the condensed pictures, their starts and their first steps.

    Writes ``verifiers.json``: a list of {verifier, data, top1, top5, count}, accuracies as fractions.
    """
    wanted = run.config.evaluate.verifiers
    answers = run.folder.read_json(FILE) if run.folder.exists(FILE) else []
    todo = [v for v in wanted if v.name not in {a["verifier"] for a in answers}]
    if not todo:
        return
    folder = run.folder.child("verifiers")
    fetch(run, folder, [v for v in todo if not folder.exists(f"{v.name}.json")], classes)
    engine = run.config.engine
    task = ray.remote(_ask).options(num_cpus=engine.cpus_per_worker, num_gpus=engine.gpus_per_worker)
    waiting = {task.remote(run, folder, v.name, blocks[:BLOCKS], source): v.name for v in todo}
    try:
        for ref, name in waiting.items():
            answers += ray.get(ref)
            emit("progress", text=f"verifier {name} has answered")
    except ray.exceptions.RayTaskError as error:
        raise root_cause(error) from None
    run.folder.write_json(FILE, answers)


def _ask(run: Run, folder: Folder, name: str, blocks: list[Block], source: list[Any]) -> list[dict[str, Any]]:
    """One verifier's answers about every kind of picture."""
    real = ray.get(source[0]) if run.config.synthesize.initialize.use == "real" else None
    maker = BlockMaker(run, recipe(run, "condensed"), real)
    record = read_record(folder, name)
    verifier = load(record, local_copy(folder, f"{name}.safetensors", record.sha256), maker.device)
    kinds: list[tuple[str, Batches]] = [("condensed", _product(run, maker.device))]
    if maker.teacher is not None:
        kinds = [(start_name(run), _early(maker, blocks, 0)), ("first step", _early(maker, blocks, 1)), *kinds]
    return [_answer(verifier, kind, batches) for kind, batches in kinds]


def start_name(run: Run) -> str:
    """What the pictures before the first step are called."""
    return "noise" if run.config.synthesize.initialize.use == "noise" else "start"


def _answer(verifier: Teacher, kind: str, batches: Batches) -> dict[str, Any]:
    counts = count_hits(verifier.logits, batches, verifier.device)
    top1, top5 = fractions(counts)
    return {"verifier": verifier.record.name, "data": kind, "top1": top1, "top5": top5, "count": int(counts[2])}


def _early(maker: BlockMaker, blocks: list[Block], steps: int) -> Batches:
    """Blocks as they were after 0 or 1 steps, as they would have been stored: remade from their keys."""
    for block in blocks:
        synthesis = maker.synthesis(block)
        for _ in range(steps):
            synthesis.step()
        yield synthesis.pixels().to(maker.device).float() / 255.0, synthesis.labels


def _product(run: Run, device: torch.device) -> Batches:
    for batch in CondensedDataset(run.dataset("condensed").url).batches(0, BATCH, shuffle=False):
        pixels = torch.from_numpy(batch.images).permute(0, 3, 1, 2).to(device)
        yield pixels.float() / 255.0, torch.from_numpy(batch.labels).to(device)
