"""The card of an exported data set: what it is, what made it, how it reads, and under which licence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

from raydc.errors import DataError
from raydc.store.folder import Folder
from raydc.store.schema import Manifest

CITATION = """```bibtex
@software{raydc,
  title = {raydc: distributed condensation of image-classification data sets on Ray},
  license = {Apache-2.0}
}
```"""
MOST = 1 << 20
"""Bytes of a provenance file that is looked into."""


@dataclass(frozen=True)
class Card:
    """What a card says."""

    manifest: Manifest
    licence: str | None
    run: dict[str, Any]
    """The config that made the images, as far as it is known."""
    teachers: dict[str, Any]

    def plain(self) -> bytes:
        """The card where nothing reads its head."""
        licence = f"Licence of the images: {self.licence or 'not stated'}.\n"
        return (self.text() + "\n" + licence).encode()

    def text(self) -> str:
        """The card below its head."""
        m, method = self.manifest, _section(self.run, "method")
        title, paper = method.get("title") or method.get("name") or "an unknown method", method.get("paper") or ""
        height, width = m.images.size
        parts = [
            f"# {m.source.name}, condensed",
            f"{m.images.count} images of {height}x{width} pixels ({m.images.codec}), {m.source.classes} classes "
            f"(`classes.txt`), condensed from `{m.source.name}` by {title} with raydc.",
            self._labels(),
            self._teachers(),
            "## Protocol\n\nHow students are trained and judged on it stands in `provenance/run.yaml`, section "
            "`evaluate`; `raydc evaluate` repeats it.",
            f"## Identity\n\n`{m.dataset_id}`. `raydc.json` has the SHA-256 of every file, `raydc verify` checks them.",
            f"## Citation\n\n{f'Method: {title}, {paper}' if paper else f'Method: {title}'}\n\n{CITATION}",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _labels(self) -> str:
        sets = self.manifest.label_sets
        if not sets:
            return ""
        rows = []
        for name, s in sets.items():
            lost = ", ".join(f"{t}: {v['kl_mean']:.2g}" for t, v in s.fidelity.items() if "kl_mean" in v)
            size = sum(f.bytes for f in s.files)
            rows.append(f"| `{name}` | {s.views} | {s.codec.use} | {size:,} | {lost or '-'} |")
        head = "| set | views | codec | bytes | KL lost at T |\n| --- | ---: | --- | ---: | --- |"
        return "\n".join(["## Soft labels", "", head, *rows])

    def _teachers(self) -> str:
        if not self.teachers:
            return ""
        rows = []
        for name, record in self.teachers.items():
            top1, arch = record.get("top1"), _section(record, "arch").get("name", "?")
            known = f", {100 * top1:.1f} % top-1" if isinstance(top1, (int, float)) else ""
            rows.append(f"- `{name}`: {arch}{known}, sha256:{record.get('sha256', '')}")
        return "\n".join(["## Teachers", "", *rows])


def card_of(source: Folder, manifest: Manifest, classes: tuple[str, ...], licence: str | None) -> Card:
    """Gather what a card says from a data set and its provenance; what is not there is left out."""
    there = {d.path for d in manifest.documents if d.bytes <= MOST}
    run = _read(source, "provenance/run.yaml", there)
    teachers = _read(source, "provenance/teachers.json", there)
    return Card(manifest, licence, run, {k: v for k, v in teachers.items() if isinstance(v, dict)})


def _read(source: Folder, path: str, there: set[str]) -> dict[str, Any]:
    if path not in there:
        return {}
    try:
        data = source.read(path)
        tree = json.loads(data) if path.endswith(".json") else yaml.safe_load(data)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{source.url}/{path} cannot be read: {error}. Run `raydc verify`") from error
    return tree if isinstance(tree, dict) else {}


def _section(tree: dict[str, Any], name: str) -> dict[str, Any]:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}
