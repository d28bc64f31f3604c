"""The manifest: what a data set is, written last and read first. A folder without ``raydc.json`` is not a data set.

A commit is one atomic replacement of that file. Whatever it does not name is rubbish of an interrupted attempt, and
what it names is never rewritten with other bytes, so a reader sees the old revision or the new one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
from pydantic import ValidationError

from raydc.errors import DataError, nearest
from raydc.labels.codecs import CODECS, Codec, codec_of
from raydc.labels.views import COLUMNS
from raydc.labels.views import VERSION as AUG_VERSION
from raydc.store.card import CARD, CLASSES, INFO, front_matter, timm_info
from raydc.store.faults import clean
from raydc.store.folder import Folder
from raydc.store.schema import FORMAT, File, ImageFile, Images, LabelFile, LabelSet, Manifest, Source
from raydc.store.shards import member

MANIFEST = "raydc.json"
HEADER_BYTES = 1024
"""Of an array in a label shard."""
WIDER = 8
"""A later version may widen view records, so often at most."""
SELF = "manifest_sha256"
"""Key of the manifest's digest of itself, taken with this value empty."""

MOST = 256 << 20
"""Bytes of a manifest or a class list: that of ImageNet-21K with 300 views has a tenth of it."""

__all__ = [
    "MANIFEST", "ImageFile", "Images", "LabelFile", "LabelSet", "Manifest", "Source",
    "add_label_set", "dataset_id", "open_label_set", "publish", "read", "read_classes",
]  # fmt: skip


def read(folder: Folder) -> Manifest:
    """Read and check the manifest of a data set.

    Raises:
        DataError: no manifest, not JSON, a newer major version, or fields that are missing or wrong.
    """
    if not folder.exists(MANIFEST):
        raise DataError(f"{clean(folder.url)} is not a data set: it has no {MANIFEST}, which 'raydc run' writes last")
    tree = folder.read_json(MANIFEST, MOST)
    where = f"{clean(folder.url)}/{MANIFEST}"
    kind, _, major = str(tree.get("format") if isinstance(tree, dict) else None).partition("/")
    if kind != FORMAT.partition("/")[0] or not major.isdecimal() or len(major) > 9:
        raise DataError(f"{where} has no known format: expected '{FORMAT}'")
    if int(major) > int(FORMAT.partition("/")[2]):
        raise DataError(f"{where} has format '{kind}/{major}', this raydc reads up to '{FORMAT}'. Update raydc")
    try:
        return Manifest.model_validate(tree)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise DataError(f"{where} is damaged or not of format '{FORMAT}': {found}") from error


def read_classes(folder: Folder, manifest: Manifest) -> tuple[str, ...]:
    """The class names in order, checked against the manifest."""
    data = folder.read(CLASSES, MOST)
    if hashlib.sha256(data).hexdigest() != manifest.source.classes_sha256:
        raise DataError(f"{clean(folder.url)}/{CLASSES} is not the class list of the manifest. Restore the original")
    names = tuple(data.decode(errors="replace").splitlines())
    if len(names) != manifest.source.classes:
        raise DataError(f"{clean(folder.url)}/{CLASSES} has {len(names)} classes, the manifest states "
                        f"{manifest.source.classes}. Restore the original")  # fmt: skip
    return names


def open_label_set(manifest: Manifest, name: str) -> LabelSet:
    """A label set that this raydc can replay.

    Raises:
        DataError: unknown name, codec or view-record version, or a set that does not cover every image and view.
    """
    if name not in manifest.label_sets:
        known = list(manifest.label_sets)
        raise DataError(f"no label set '{name}'{nearest(name, known)}; the data set has {known or 'none'}")
    labels = manifest.label_sets[name]
    _check_label_set(manifest, name, labels)
    return labels


def dataset_id(manifest: Manifest, classes: Sequence[str]) -> str:
    """Identity of the images: class list, image settings and shard digests; label sets and dates do not matter."""
    images = manifest.images.model_dump(mode="json", exclude={"files"}, exclude_none=True)
    tree = [list(classes), images, [f.sha256 for f in manifest.images.files]]
    return "sha256:" + hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def publish(
    folder: Folder,
    manifest: Manifest,
    classes: Sequence[str],
    card: str,
    provenance: Mapping[str, bytes] | None = None,
    licence: str | None = None,
) -> Manifest:
    """Make a data set of image shards that are already written.

    Writes ``classes.txt``, timm's ``_info.json``, the card, provenance, and ``raydc.json`` last. Publishing the same
    images again is harmless: label sets of the earlier revision are kept.

    Args:
        folder: root of the data set.
        manifest: identity, dates, digests and documents are filled in.
        classes: names in order of their index.
        card: Markdown body of ``README.md``; its YAML head is written here.
        provenance: further files to keep, by path, such as ``provenance/run.yaml``.
        licence: of the images, for the head of the card.

    Returns:
        The manifest as written.

    Raises:
        DataError: a shard is missing or of another size, or the folder holds another data set.
    """
    names = _class_file(classes, manifest)
    identity = dataset_id(manifest, classes)
    old = read(folder) if folder.exists(MANIFEST) else None
    if old is not None and old.dataset_id != identity:
        raise DataError(f"{clean(folder.url)} holds another data set, {old.dataset_id[:19]}. Choose another folder")
    for file in manifest.images.files:
        if folder.size(file.path) != file.bytes:
            raise DataError(f"{file.path} is {folder.size(file.path)} bytes, written were {file.bytes}. Pack it again")
    documents = {CLASSES: names, INFO: timm_info(manifest), CARD: front_matter(manifest, licence) + card.encode()}
    receipts = [folder.write(path, data) for path, data in {**documents, **(provenance or {})}.items()]
    new = manifest.model_copy(
        update={
            "revision": old.revision + 1 if old else manifest.revision,
            "dataset_id": identity,
            "created": manifest.created or datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "source": manifest.source.model_copy(update={"classes_sha256": receipts[0].sha256}),
            "documents": [File(path=r.path, bytes=r.bytes, sha256=r.sha256) for r in receipts],
            "label_sets": {**(old.label_sets if old else {}), **manifest.label_sets},
        }
    )
    for name, labels in new.label_sets.items():
        _check_label_set(new, name, labels)
    return _commit(folder, new)


def add_label_set(folder: Folder, name: str, label_set: LabelSet) -> Manifest:
    """Add a label set whose files are already written, as the next revision.

    Adding the same one again changes nothing; a name is never given to other labels.
    """
    manifest = read(folder)
    if name in manifest.label_sets:
        if manifest.label_sets[name] == label_set:
            return manifest
        raise DataError(f"label set '{name}' exists and differs. Choose another name: published labels do not change")
    _check_label_set(manifest, name, label_set)
    for file in label_set.files:
        if folder.size(file.path) != file.bytes:
            raise DataError(f"{file.path} is {folder.size(file.path)} bytes, written were {file.bytes}. Relabel it")
    sets = {**manifest.label_sets, name: label_set}
    return _commit(folder, manifest.model_copy(update={"revision": manifest.revision + 1, "label_sets": sets}))


def render(tree: dict[str, Any]) -> bytes:
    """The bytes of a manifest: the tree as JSON, with the digest of itself in place."""
    blank = json.dumps({**tree, SELF: ""}, indent=1)
    digest = hashlib.sha256(blank.encode()).hexdigest()
    return json.dumps({**tree, SELF: digest}, indent=1).encode() + b"\n"


def _commit(folder: Folder, manifest: Manifest) -> Manifest:
    tree = manifest.model_dump(mode="json", exclude_none=True)
    tree.pop(SELF, None)
    folder.write(MANIFEST, render(tree))
    return read(folder)


def _class_file(classes: Sequence[str], manifest: Manifest) -> bytes:
    names = list(classes)
    if len(names) != manifest.source.classes or len(set(names)) < len(names):
        raise DataError(f"{len(set(names))} different class names, but the manifest states {manifest.source.classes}")
    broken = [n for n in names if not n or n.splitlines() != [n] or n != n.strip()]
    if broken:
        raise DataError(f"class name {broken[0]!r} does not fit on a line of its own in {CLASSES}. Rename the class")
    return "".join(f"{n}\n" for n in names).encode()


def _check_label_set(manifest: Manifest, name: str, labels: LabelSet) -> None:
    codec = _codec(labels, name)
    if labels.aug.version != AUG_VERSION or tuple(labels.aug.columns[: len(COLUMNS)]) != COLUMNS:
        raise DataError(f"label set '{name}' has view records version {labels.aug.version}, expected {AUG_VERSION}")
    dtype = codec.row_dtype(manifest.source.classes)
    if _row_dtype(labels, name) != dtype or labels.row_bytes != dtype.itemsize:
        raise DataError(f"label set '{name}' has rows of {labels.row_bytes} bytes, expected {dtype.itemsize}")
    shards = {f.path: f for f in manifest.images.files}
    for file in labels.files:
        _check_spans(file, shards, labels.row_bytes)
    covered: dict[str, list[int]] = {path: [] for path in shards}
    for file in labels.files:
        first, stop = file.views
        missing = [m for v in range(first, stop) for m in (member(v, "aug"), member(v, "lab")) if m not in file.members]
        if file.images not in shards or missing:
            raise DataError(f"{file.path} of label set '{name}' lacks {missing[0] if missing else file.images}")
        if file.keys_sha256 not in (None, shards[file.images].keys_sha256):
            raise DataError(f"{file.path} labels other images, or another order, than {file.images} holds. Relabel")
        covered[file.images] += range(first, stop)
    for path, views in covered.items():
        if len(views) != labels.views or sorted(views) != list(range(labels.views)):
            raise DataError(f"label set '{name}' has {len(views)} of {labels.views} views of {path}. Relabel it")


def _codec(labels: LabelSet, name: str) -> Codec:
    used = labels.codec
    versions = {use: kind.version for use, kind in CODECS.items()}
    if versions.get(used.use) != used.version:
        known = ", ".join(f"{use} version {version}" for use, version in versions.items())
        wrote = f"codec '{used.use}' version {used.version}"
        raise DataError(f"label set '{name}' uses {wrote}; this raydc knows {known}. Update raydc")
    try:
        return codec_of(used.use, **used.settings())
    except TypeError:
        raise DataError(f"label set '{name}' has codec {used.model_dump()}: its settings are not those of it") from None


def _check_spans(file: LabelFile, shards: Mapping[str, ImageFile], row_bytes: int) -> None:
    """Refuse views and members that a file of this size cannot have, before anything is made as large as they say."""
    first, stop = file.views
    if first < 0 or stop - first > len(file.members):
        raise DataError(f"{file.path} states views {first} to {stop} and {len(file.members)} members. Relabel it")
    samples = shards[file.images].samples if file.images in shards else 0
    most = HEADER_BYTES + samples * max(row_bytes, 2 * len(COLUMNS) * WIDER)
    for name, (offset, size) in file.members.items():
        if offset < 0 or not 0 <= size <= most or offset + size > file.bytes:
            raise DataError(f"{file.path}: member '{name[:40]}' of {size:,} bytes at {offset:,} cannot be in a file of "
                            f"{file.bytes:,} bytes with {samples} rows. Relabel it")  # fmt: skip


def _row_dtype(labels: LabelSet, name: str) -> np.dtype:
    try:
        return np.dtype([tuple(tuple(p) if isinstance(p, list) else p for p in field) for field in labels.row_dtype])
    except (TypeError, ValueError) as error:
        raise DataError(f"label set '{name}' states the row type {labels.row_dtype}, unknown to NumPy") from error
