"""The forms: each writes every file whole, and writes again only what an earlier try has not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from raydc.errors import DataError
from raydc.store import manifest as manifests
from raydc.store.card import CARD, CLASSES, INFO, timm_info
from raydc.store.checked import read_checked
from raydc.store.export.card import Card
from raydc.store.folder import Folder
from raydc.store.schema import File, ImageFile, LabelSet, Manifest
from raydc.store.shards import samples_of

THREADS = 16
"""Small files written at a time."""


@dataclass(frozen=True)
class Export:
    """A data set on its way."""

    source: Folder
    target: Folder
    manifest: Manifest
    classes: tuple[str, ...]
    labels: str | None
    card: Card
    say: Callable[[str], None]


def folders(export: Export) -> None:
    """``CLASS/KEY.png``: torchvision's ImageFolder; the images' bytes are those of the shards.

    Raises:
        DataError: a class whose name cannot be a folder's.
    """
    for name in export.classes:
        if "/" in name or "\\" in name or name.startswith(".") or len(name.encode()) > 200:
            raise DataError(f"class '{name}' cannot be the name of a folder. Export it as webdataset or huggingface")
    for number, file in enumerate(export.manifest.images.files):
        receipt = f".raydc-export-{number:06d}.json"
        if export.target.exists(receipt):
            continue
        _each(lambda named: export.target.write(*named), _named_images(export, file))
        export.target.write_json(receipt, {"samples": file.samples})
        export.say(f"{file.path}: {file.samples} images")
    export.target.write(CLASSES, export.source.read(CLASSES))
    export.target.write(CARD, export.card.plain())
    for number in range(len(export.manifest.images.files)):
        export.target.remove(f".raydc-export-{number:06d}.json")


def _named_images(export: Export, file: ImageFile) -> list[tuple[str, bytes]]:
    """The images of a shard by class and key."""
    codec, found = export.manifest.images.codec, []
    for key, fields in samples_of(read_checked(export.source, file), file).items():
        if not {"cls", codec} <= fields.keys():
            raise DataError(f"{file.path}: sample {key} lacks its .cls or .{codec} member. Pack it again")
        label = _class(fields["cls"], file.path, len(export.classes))
        found.append((f"{export.classes[label]}/{key}.{codec}", fields[codec]))
    return found


def _class(data: bytes, origin: str, classes: int) -> int:
    if not data.isdigit() or len(data) > 9 or int(data) >= classes:
        raise DataError(f"{origin}: a .cls member is {data[:20]!r}; expected a class from 0 to {classes - 1}")
    return int(data)


def webdataset(export: Export) -> None:
    """The image shards alone, with the class list and timm's index; the label shards of one set beside them."""
    _copy(export, export.manifest.images.files)
    if export.labels is not None:
        labels = export.manifest.label_sets[export.labels]
        _copy(export, labels.files)
        tree = labels.model_dump(mode="json", exclude_none=True)
        export.target.write_json(f"labels/{export.labels}.json", tree)
    export.target.write(CLASSES, export.source.read(CLASSES))
    export.target.write(INFO, timm_info(export.manifest))
    export.target.write(CARD, export.card.plain())


def huggingface(export: Export) -> None:
    """The whole data set under a card with its licence: still a raydc data set, of the same ``dataset_id``."""
    manifest, sets = export.manifest, export.manifest.label_sets
    _copy(export, [*manifest.images.files, *(file for labels in sets.values() for file in labels.files)])
    rest = {d.path: export.source.read(d.path) for d in manifest.documents if d.path.startswith("provenance/")}
    bare = manifest.model_copy(update={"label_sets": {}, "documents": [], "revision": 1, "dataset_id": ""})
    text = export.card.text()
    made = manifests.publish(export.target, bare, export.classes, text, rest, export.card.licence)
    if made.dataset_id != manifest.dataset_id:
        raise DataError(f"{export.source.url} is not the data set that its manifest names. Run `raydc verify`")
    for name, labels in sets.items():
        _add(export.target, name, labels)


def _add(target: Folder, name: str, labels: LabelSet) -> None:
    if name not in manifests.read(target).label_sets:
        manifests.add_label_set(target, name, labels)


def _copy(export: Export, files: Iterable[File]) -> None:
    """Copy files that are not there yet, each held against its digest."""
    for file in files:
        if not (export.target.exists(file.path) and export.target.size(file.path) == file.bytes):
            export.target.write(file.path, read_checked(export.source, file))
            export.say(f"{file.path}: {file.bytes:,} bytes")


def _each(work: Callable[[tuple[str, bytes]], object], items: list[tuple[str, bytes]]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, items))


FORMS: dict[str, Callable[[Export], None]] = {
    "folders": folders,
    "webdataset": webdataset,
    "huggingface": huggingface,
}
"""How a data set is written, by the name of its form."""
