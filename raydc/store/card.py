"""What foreign readers need beside the shards: timm's index and the head of a Hugging Face data set card.

Both depend on the image shards alone, so adding a label set rewrites neither.
"""

from __future__ import annotations

import json

from raydc.store.schema import Manifest

CLASSES, INFO, CARD = "classes.txt", "_info.json", "README.md"
SPLIT = "train"


def timm_info(manifest: Manifest) -> bytes:
    """``_info.json`` as ``timm/data/readers/reader_wds.py`` reads it."""
    files = manifest.images.files
    split = {
        "name": SPLIT,
        "num_samples": manifest.images.count,
        "filenames": [f.path for f in files],
        "shard_lengths": [f.samples for f in files],
    }
    return json.dumps({"splits": {SPLIT: split}}, indent=1).encode() + b"\n"


def front_matter(manifest: Manifest, licence: str | None = None) -> bytes:
    """The YAML head of the card. Explicit ``configs`` keep label shards from being taken for images."""
    said = f"license: {json.dumps(licence)}\n" if licence else ""
    return f"""---
{said}pretty_name: {json.dumps(manifest.source.name + ", condensed")}
task_categories: [image-classification]
tags: [dataset-distillation, webdataset, raydc]
configs:
- config_name: images
  default: true
  data_files:
  - {{split: {SPLIT}, path: "images/*.tar"}}
- config_name: labels
  data_files:
  - {{split: {SPLIT}, path: "labels/*/*.tar"}}
---

""".encode()
