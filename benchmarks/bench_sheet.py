"""What do the pictures of every method look like at 224 pixels, and what do they cost?

The same ten classes of ImageNet under the same trained networks, one run a method. Real images, where a method begins
with them or needs their statistics, are the twenty that the package foolbox carries (`pip install --no-deps foolbox`).
A network that took no part says how many pictures are of their class. One record, with the pictures beside it.

    python benchmarks/bench_sheet.py --scratch /tmp/sheet
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from bench_methods import raydc
from common import RECORDS, ROOT, write_record

from raydc.engine.comparison import gather
from raydc.report.comparison import sheet_of
from raydc.sources.classes import class_list

SYNSETS = "package:timm/data/_info/imagenet_synsets.txt"
FOLDER = "configs/imagenet-samples"


def main() -> None:
    """Make the data folder, run every method, record."""
    options = arguments()
    scratch = Path(options.scratch).resolve()
    data = scratch / "data"
    sort_pictures(data)
    configs = sorted((ROOT / FOLDER).glob("*.yaml"))
    chosen = [c for c in configs if not options.methods or c.stem in options.methods]
    for config in chosen:
        if (scratch / config.stem / "verifiers.json").exists():
            continue
        where = [f"output={scratch / config.stem}", f"data.train={data}", f"data.validation={data}"]
        raydc("run", str(config), *(word for value in [*where, *options.set] for word in ("--set", value)))
    found = gather([str(scratch / config.stem) for config in chosen])
    answers = {c.stem: json.loads((scratch / c.stem / "verifiers.json").read_text()) for c in chosen}
    record = {"methods": [{"config": f"{FOLDER}/{c.stem}.yaml", "worker_s_per_image": round(run.seconds, 2),
                           "verifiers": answers[c.stem]} for c, run in zip(chosen, found, strict=True)]}  # fmt: skip
    what = "ten classes of ImageNet at 224 by every method, 100 steps, one picture a class"
    target = write_record("imagenet-samples", what, record, Path(options.records))
    sheet = sheet_of(found)
    if sheet is not None:
        sheet.thumbnail((1600, 1600 * sheet.height // sheet.width))
        sheet.save(target.with_suffix(".jpg"), quality=85)
    print(target)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scratch", required=True, help="folder for data and runs; those that are done are kept")
    parser.add_argument("--methods", nargs="*", default=[], help="names of some methods; absent: all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to raydc run")
    parser.add_argument("--records", default=str(RECORDS), help="folder of the record")
    return parser.parse_args()


def sort_pictures(data: Path) -> None:
    """Copy foolbox's ImageNet pictures into folders by synset."""
    synsets, package = class_list(SYNSETS), find_spec("foolbox")
    if package is None or not package.submodule_search_locations:
        sys.exit("the pictures come with the package foolbox: pip install --no-deps foolbox")
    for picture in Path(package.submodule_search_locations[0], "data").iterdir():
        found = re.fullmatch(r"imagenet_\d+_(\d+)\.jpg", picture.name)
        if found:
            folder = data / synsets[int(found.group(1))]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, folder / picture.name)


if __name__ == "__main__":
    main()
