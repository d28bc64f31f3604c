"""A frozen teacher: its record, its weights on disk, and its answers in the data set's class order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from raydc.config.stages.networks import Arch, Normalize
from raydc.config.stages.squeeze import TeacherConfig
from raydc.errors import DataError
from raydc.sources.classes import class_list
from raydc.store.faults import clean
from raydc.store.folder import Folder
from raydc.teachers import checkpoint
from raydc.teachers.networks import REPLACED, build, construct, skeleton


class TeacherRecord(BaseModel):
    """Everything that decides a teacher's answers, small enough for a manifest."""

    model_config = ConfigDict(frozen=True)

    name: str
    arch: Arch
    normalize: Normalize
    outputs: int
    """Outputs of the network itself."""
    columns: list[int] | None = None
    """The output that answers for each class of the data set; None: outputs are the classes, in order."""
    image_size: int
    sha256: str
    """Of the safetensors file."""
    origin: str
    """The URL the weights came from, or what they were trained on."""
    top1: float | None = None
    """Validation accuracy as a fraction, of teachers trained here."""

    @property
    def classes(self) -> int:
        """Classes of the data set that the teacher answers for."""
        return self.outputs if self.columns is None else len(self.columns)


class Teacher:
    """A network in eval mode without parameter gradients. Gradients still flow to its input."""

    def __init__(self, module: nn.Module, record: TeacherRecord) -> None:
        self.module = module
        self.record = record
        self.device = device = next((t.device for t in module.parameters()), torch.device("cpu"))
        self._mean = torch.tensor(record.normalize.mean, device=device).view(-1, 1, 1)
        self._std = torch.tensor(record.normalize.std, device=device).view(-1, 1, 1)
        self._columns = None if record.columns is None else torch.tensor(record.columns, device=device)

    def normalize(self, x01: torch.Tensor) -> torch.Tensor:
        """Map pixels in [0, 1], float ``[B, 3, H, W]``, to the network's input."""
        return (x01 - self._mean) / self._std

    def logits(self, x01: torch.Tensor) -> torch.Tensor:
        """Answer pixels in [0, 1], float ``[B, 3, H, W]``, with float32 ``[B, classes]`` in the data set's order."""
        return self.pick(self.module(self.normalize(x01)))

    def pick(self, outputs: torch.Tensor) -> torch.Tensor:
        """The network's own outputs ``[B, outputs]`` in the data set's classes, float32 ``[B, classes]``."""
        return (outputs if self._columns is None else outputs.index_select(1, self._columns)).float()


def columns_of(own_classes: Sequence[str], data_classes: Sequence[str], name: str = "teacher") -> list[int] | None:
    """Find the output for each class of the data set by name; None where the lists are equal.

    Raises:
        DataError: a class the teacher does not have.
    """
    if list(own_classes) == list(data_classes):
        return None
    place = {c: i for i, c in enumerate(own_classes)}
    missing = [c for c in data_classes if c not in place]
    if missing:
        raise DataError(
            f"teacher '{name}' has {len(own_classes)} outputs, the data set {len(data_classes)} classes, of which the "
            f"teacher's list lacks {len(missing)} ({', '.join(missing[:5])}). Names must be equal, letter by letter"
        )
    return [place[c] for c in data_classes]


def adopt(config: TeacherConfig, classes: Sequence[str], image_size: int, path: Path) -> TeacherRecord:
    """Turn the foreign weights of ``config.weights`` into our safetensors file at ``path``, and describe it.

    Raises:
        DataError: unreadable or unfitting weights, or outputs that do not match the classes of the data set.
    """
    if config.weights is None:
        raise ValueError(f"teacher '{config.name}' has no weights to adopt; it is to be trained")
    own = None if config.classes is None else class_list(config.classes)
    outputs = len(classes) if own is None else len(own)
    columns = None if own is None else columns_of(own, classes, config.name)
    module = build(config.arch, outputs, image_size)
    origin = f"teacher '{config.name}' ({clean(config.weights)})"
    try:
        state = checkpoint.read_state(config.weights)
    except DataError as error:
        raise DataError(f"weights of teacher '{config.name}': {error}") from error
    module.load_state_dict(checkpoint.match(state, module, config.keys, origin))
    return TeacherRecord(
        name=config.name, arch=config.arch, normalize=config.normalize, outputs=outputs, columns=columns,
        image_size=image_size, sha256=save(module, path), origin=clean(config.weights),
    )  # fmt: skip


def save(module: nn.Module, path: Path) -> str:
    """Write a network's state as safetensors, whole or not at all; the same weights give the same bytes.

    Returns:
        The SHA-256 of the file in hex.
    """
    return Folder(path.parent).write(path.name, checkpoint.pack(module.state_dict())).sha256


def load(record: TeacherRecord, path: Path, device: torch.device | str = "cpu") -> Teacher:
    """Open a teacher from its safetensors file, mapped and not copied, so that actors of one node share the pages.

    Raises:
        DataError: missing or damaged file.
    """
    found = Folder(path.parent).digest(path.name).sha256
    if found != record.sha256:
        raise DataError(
            f"weights of teacher '{record.name}' at {path} have SHA-256 {found[:12]}..., expected "
            f"{record.sha256[:12]}...: the file was changed or cut. Remove it and run squeeze again"
        )
    module = skeleton(record.arch, record.outputs, record.image_size)
    state = safetensors.torch.load_file(path)
    if any(name not in state for name, _ in module.named_buffers()):
        # Buffers that are computed and never saved (position tables) do not exist on the meta device: build for real.
        module = construct(record.arch, record.outputs, record.image_size, REPLACED)
    module.load_state_dict(checkpoint.match(state, module, origin=str(path)), assign=True)
    return Teacher(module.to(device).eval().requires_grad_(False), record)
