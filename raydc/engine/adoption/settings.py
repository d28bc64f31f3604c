"""From the config of a run to that of judging another set under its protocol."""

from __future__ import annotations

import hashlib
import re

from raydc.config import RunConfig
from raydc.config.schema import MethodCard
from raydc.config.stages.adopt import AdoptConfig
from raydc.config.stages.pack import PackConfig
from raydc.config.stages.synthesize import SynthesizeConfig
from raydc.errors import ConfigError
from raydc.sources.given import described, glance
from raydc.store.folder import Folder


def beside(config: RunConfig, output: str | None = None) -> RunConfig:
    """The run that judges a set under the protocol of another run, in a folder of its own.

    Args:
        config: of the other run, whose teachers are taken over where it has them, with the set that is adopted.
        output: the folder; absent: that of the other run with ``-on-`` and a name for the set.

    Raises:
        ConfigError: no set is adopted.
    """
    if config.adopt is None:
        raise ConfigError("there is no data set to judge: give its URL as 'adopt'")
    place = Folder(config.adopt.url).url
    plain = re.sub(r"[^a-z0-9]+", "-", described(AdoptConfig(url=place)).lower()).strip("-")[:40].strip("-")
    mark = f"-on-{plain or 'set'}-{hashlib.sha256(place.encode()).hexdigest()[:6]}"
    given = config.adopt.model_copy(update={"url": place, "teachers": config.adopt.teachers or config.folder})
    named = {"name": config.name + mark, "output": output or config.folder.rstrip("/") + mark}
    return config.model_copy(update={**named, "adopt": given})


def resolved(config: RunConfig) -> RunConfig:
    """A config as it runs: where a set is adopted, its form settles what synthesis and packing would.

    Images of another form are stored as PNG, which keeps every pixel; the control is stored as the set is. Where no
    student wants soft labels none are stored, so that no teacher is needed.

    Raises:
        DataError: the set is of no known form, empty, or cannot be read.
    """
    given = config.adopt
    if given is None:
        return config
    found = glance(given)
    pack = config.pack.model_copy(update={"format": found.codec, "quality": found.quality or PackConfig().quality})
    made = {"ipc": max(1, round(found.per_class)), "initialize": {"use": "noise"}, "steps": 0, "snapshots": 0}
    synth = SynthesizeConfig.model_validate({**made, "blocks": config.synthesize.blocks})
    relabel, evaluate = config.relabel, config.evaluate
    if not config.soft:
        relabel = relabel and relabel.model_copy(update={"mode": "live", "also": []})
        evaluate = evaluate.model_copy(update={"label_sets": []})
    return config.model_copy(
        update={
            "adopt": given.model_copy(update={"url": Folder(given.url).url, "teachers": _absolute(given.teachers)}),
            "method": MethodCard(name="adopted", title=f"{described(given)}, adopted"),
            "pack": pack,
            "synthesize": synth,
            "relabel": relabel,
            "evaluate": evaluate,
        }
    )


def _absolute(url: str | None) -> str | None:
    return None if url is None else Folder(url).url
