"""Does a data set hold what its manifest says, to the byte, and what is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from raydc.errors import DataError, StorageError
from raydc.store import manifest as manifests
from raydc.store import tar
from raydc.store.card import INFO, timm_info
from raydc.store.faults import told
from raydc.store.folder import Folder
from raydc.store.patience import READING_S
from raydc.store.schema import File, ImageFile, LabelFile, Manifest
from raydc.store.shards import keys_digest


def verify(folder: Folder) -> list[str]:
    """Read every byte of a data set and compare it with its manifest.

    Returns:
        The problems found, one sentence each; empty if there is none.

    Raises:
        StorageError: the storage does not answer, which says nothing about the data set.
    """
    try:
        manifest = manifests.read(folder)
    except StorageError:
        raise
    except DataError as error:
        return [str(error)]
    patient = Folder(folder.url, max(folder.patience, READING_S))  # a busy storage is no damage
    return [*_itself(patient), *_facts(patient, manifest), *_files(patient, manifest)]


def inspect(folder: Folder) -> dict[str, Any]:
    """Counts, bytes, label sets and teachers of a data set, from its manifest alone."""
    manifest = manifests.read(folder)
    images = manifest.images
    return {
        "url": folder.url,
        **manifest.model_dump(mode="json", include={"format", "revision", "dataset_id", "created"}),
        "source": manifest.source.name,
        "classes": manifest.source.classes,
        "images": images.count,
        "image_size": list(images.size),
        "image_codec": images.codec,
        "image_shards": len(images.files),
        "image_bytes": sum(f.bytes for f in images.files),
        "label_sets": {
            name: {
                "views": labels.views,
                "codec": labels.codec.use,
                "bytes": sum(f.bytes for f in labels.files),
                "row_bytes": labels.row_bytes,
                "teachers": labels.teachers,
                "fidelity": labels.fidelity,
                "files": len(labels.files),
            }
            for name, labels in manifest.label_sets.items()
        },
        "label_bytes": sum(f.bytes for labels in manifest.label_sets.values() for f in labels.files),
        "documents": [f.path for f in manifest.documents],
    }


def _itself(folder: Folder) -> Iterator[str]:
    data = folder.read(manifests.MANIFEST)
    tree = {k: v for k, v in json.loads(data).items() if k != manifests.SELF}
    if manifests.render(tree) != data:
        yield f"{manifests.MANIFEST} was changed after it was written: it does not match its own digest"


def _facts(folder: Folder, manifest: Manifest) -> Iterator[str]:
    try:
        classes = manifests.read_classes(folder, manifest)
        if manifests.dataset_id(manifest, classes) != manifest.dataset_id:
            yield f"{manifests.MANIFEST}: dataset_id is not that of its class list and image shards"
        if folder.read(INFO, manifests.MOST) != timm_info(manifest):
            yield f"{INFO} does not describe the image shards of the manifest"
        for name in manifest.label_sets:
            manifests.open_label_set(manifest, name)
    except StorageError:
        raise
    except DataError as error:
        yield str(error)
    total = sum(f.samples for f in manifest.images.files)
    if total != manifest.images.count:
        yield f"the image shards hold {total} samples, the manifest states {manifest.images.count}"


def _files(folder: Folder, manifest: Manifest) -> Iterator[str]:
    labels = [f for s in manifest.label_sets.values() for f in s.files]
    for file in [*manifest.documents, *manifest.images.files, *labels]:
        try:
            size = folder.size(file.path)
            if size != file.bytes:
                yield f"{file.path} has {size} bytes, the manifest states {file.bytes}"
            elif (found := folder.digest(file.path)).sha256 != file.sha256:
                yield f"{file.path} was changed: its SHA-256 is {found.sha256[:12]}..., not {file.sha256[:12]}..."
            else:
                yield from _content(folder, file)
        except StorageError:
            raise
        except DataError as error:
            yield str(error)


def _content(folder: Folder, file: File) -> Iterator[str]:
    """The bytes are as they were written; were they written as the manifest says?"""
    if not isinstance(file, (ImageFile, LabelFile)):
        return
    with told("read", f"{folder.url}/{file.path}"), folder.open(file.path) as stream:
        members = {name: (offset, size) for name, offset, size in tar.scan(stream, file.path)}
    if isinstance(file, LabelFile):
        if members != file.members:
            yield f"{file.path}: its members do not lie where the manifest says"
        return
    keys = list(dict.fromkeys(name.partition(".")[0] for name in members))
    if len(keys) != file.samples or keys_digest(keys) != file.keys_sha256:
        yield f"{file.path}: its {len(keys)} samples are not the {file.samples} of the manifest, or in another order"
