"""A data set in the forms that others read: class folders, plain WebDataset, and a Hugging Face data set.

An export is begun by a marker and ended by another; between them the same command goes on, and every file is written
whole. What is there and is not of this export is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from raydc.errors import ConfigError, DataError
from raydc.store import manifest as manifests
from raydc.store.export.card import card_of
from raydc.store.export.forms import FORMS, Export
from raydc.store.faults import clean
from raydc.store.folder import Folder

__all__ = ["BEGUN", "DONE", "FORMS", "export"]

BEGUN, DONE = ".raydc-export-begun.json", ".raydc-export.json"
"""Hidden, so that no reader takes them for data."""
LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .+_-]*")


def export(
    source: Folder,
    target: Folder,
    form: str,
    licence: str | None = None,
    labels: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> int:
    """Write a data set in another form; returns the number of images, or 0 if the target holds it already.

    Args:
        source: root of the data set.
        target: where to: empty, or left by the same export.
        form: one of ``FORMS``.
        licence: of the images, for the card; an identifier such as ``cc-by-4.0``.
        labels: a label set to go with the images, where the form has a place for it; ``huggingface`` takes all.
        say: takes a line a shard.

    Raises:
        ConfigError: no such form, a licence that is no identifier, or labels that the form has no place for.
        DataError: a damaged data set, no such label set, or a target that holds something else.
    """
    if form not in FORMS:
        raise ConfigError(f"no form '{form}'; there are {', '.join(FORMS)}")
    if labels is not None and form != "webdataset":
        raise ConfigError(f"form {form} takes no --labels: folders have no place for any, huggingface has all sets")
    if licence is not None and not LICENCE.fullmatch(licence):
        raise ConfigError(f"licence '{licence}' is no identifier such as 'cc-by-4.0' or 'other'")
    manifest = manifests.read(source)
    if labels is not None:
        manifests.open_label_set(manifest, labels)
    made_of = {"dataset_id": manifest.dataset_id, "revision": manifest.revision, "form": form, "licence": licence,
               "labels": labels}  # fmt: skip
    if target.exists(DONE) and target.read_json(DONE) == made_of:
        return 0
    _begin(target, made_of)
    classes = manifests.read_classes(source, manifest)
    card = card_of(source, manifest, classes, licence)
    FORMS[form](Export(source, target, manifest, classes, labels, card, say))
    target.write_json(DONE, made_of)
    target.remove(BEGUN)
    return manifest.images.count


def _begin(target: Folder, made_of: dict[str, object]) -> None:
    """Lay claim to an empty folder, or go on where the same export stopped."""
    if target.exists(BEGUN) and not target.exists(DONE):
        begun = target.read_json(BEGUN)
        if begun != made_of:
            raise DataError(
                f"{clean(target.url)} holds the beginning of another export ({begun['form']} of "
                f"{str(begun['dataset_id'])[:19]}...). Remove it, or choose another folder"
            )
        return
    if not target.empty():
        raise DataError(f"{clean(target.url)} is not empty; an export is written to a new folder. Choose another one")
    target.write_json(BEGUN, made_of)
