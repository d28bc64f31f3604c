"""What can be said of a run without starting it: whether its networks exist, what it will cost, what may be listed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from raydc.condense.augment import AUGMENTATIONS
from raydc.condense.discrepancy import DISCREPANCIES
from raydc.condense.initialize import INITIALIZERS
from raydc.condense.taps import batch_norms
from raydc.config import RunConfig, differences
from raydc.config.schema import TeacherConfig
from raydc.errors import ConfigError, nearest
from raydc.keys import Key
from raydc.labels.codecs import CODECS
from raydc.plan.cost import cost
from raydc.plan.fleet import Fleet
from raydc.plan.forecast import Measured, Student, forecast, measures
from raydc.plan.items import Networks, Plan, items
from raydc.sources import digits
from raydc.sources.base import open_source
from raydc.sources.classes import class_list, select
from raydc.students.protocol import student_jobs
from raydc.teachers.flops import forward_flop
from raydc.teachers.networks import check, skeleton
from raydc.teachers.small import SMALL
from raydc.teachers.teacher import columns_of


def check_networks(config: RunConfig) -> None:
    """Refuse what can be known to be impossible without looking at images or weights, all of it at once.

    Raises:
        ConfigError: networks that no library has, that refuse their options or images of this size, subsets that
            cannot be.
        DataError: a class list that cannot be read, or a teacher's list that lacks classes of the data set.
    """
    known = config.data.classes is not None or config.data.use == "digits"
    classes = label_space(config) if known else ["0"] * len(config.data.subset or "01")
    mistakes = [*_networks(config, classes), *_unmatched(config, classes), *(_picked(config, classes) if known else [])]
    if mistakes:
        head = f"{config.name}: {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
        raise ConfigError("\n  ".join([head, *mistakes]))
    for teacher in _teachers(config).values():
        if known and teacher.classes is not None:
            columns_of(class_list(teacher.classes), classes, teacher.name)


def _teachers(config: RunConfig) -> dict[str, TeacherConfig]:
    """Every frozen network of a run, by its place in the configuration."""
    sections = {"squeeze.teachers": config.squeeze.teachers, "evaluate.verifiers": config.evaluate.verifiers}
    return {f"{where}.{n}": t for where, teachers in sections.items() for n, t in enumerate(teachers)}


def _networks(config: RunConfig, classes: Sequence[str]) -> Iterator[str]:
    students = {f"evaluate.students.{n}": s.arch for n, s in enumerate(config.evaluate.students)}
    for place, arch in {**{p: t.arch for p, t in _teachers(config).items()}, **students}.items():
        try:
            check(arch, len(classes), config.data.image_size)
        except ConfigError as error:
            yield f"{place}.arch: {error}"


def _unmatched(config: RunConfig, classes: Sequence[str]) -> Iterator[str]:
    """An objective on BatchNorm statistics, and a teacher that has none."""
    wanted = any(term.use == "bn_statistics" and term.weight for term in config.synthesize.objective)
    if not wanted or config.synthesize.steps == 0:
        return
    named = config.synthesize.teacher or config.squeeze.teachers[0].name
    teacher = next(t for t in config.squeeze.teachers if t.name == named)
    with suppress(ConfigError):  # told of by _networks
        if not batch_norms(skeleton(teacher.arch, len(classes), config.data.image_size)):
            lacks = f"teacher '{named}' ({teacher.arch.name}) has none"
            yield f"synthesize.objective: bn_statistics needs BatchNorm2d layers, and {lacks}"


def _picked(config: RunConfig, classes: Sequence[str]) -> Iterator[str]:
    try:
        select(config.synthesize.classes, classes, "synthesize.classes")
    except ConfigError as error:
        yield str(error)


def label_space(config: RunConfig) -> list[str]:
    """The class names, as far as they are known without looking at the data.

    Raises:
        ConfigError: they stand only in the data, or the subset is none of them.
    """
    if config.data.classes is None and config.data.use != "digits":
        raise ConfigError(
            "the classes of this data set are known only from its files; `plan` needs data.classes: "
            "a list, a file or a count"
        )
    classes = digits.CLASSES if config.data.classes is None else class_list(config.data.classes)
    return [classes[c] for c in select(config.data.subset, classes, "data.subset")]


def planned(config: RunConfig, fleet: Fleet, found: Measured | None = None) -> Plan:
    """The arithmetic of a run, number by number.

    Args:
        config: the run.
        fleet: the devices at work, with what is known of their rates and prices.
        found: what a calibration has measured, to predict from.
    """
    classes = label_space(config)
    picked = len(select(config.synthesize.classes, classes, "synthesize.classes"))
    networks = networks_of(config, len(classes))
    counted = cost(config, picked, len(classes), networks.forward_flop, fleet)
    listed = items(config, counted, networks, len(classes), fleet)
    if found is None:
        return Plan(counted, listed)
    students = [Student(job.student.name, job.data, job.labels) for job in student_jobs(config.evaluate)]
    return Plan(counted, [*listed, *measures(found), *forecast(config, counted, students, found)])


def networks_of(config: RunConfig, classes: int) -> Networks:
    """What the networks of a run take, counted on the meta device."""
    side = config.data.image_size
    name = config.synthesize.teacher or config.squeeze.teachers[0].name
    arch = next(t.arch for t in config.squeeze.teachers if t.name == name)
    network = skeleton(arch, classes, side)
    trained = [t for t in config.squeeze.teachers if t.train is not None]
    return Networks(
        teacher=name,
        forward_flop=forward_flop(arch, classes, side),
        norm_channels=sum(layer.num_features for _, layer in batch_norms(network)),
        weights=sum(p.numel() for p in network.parameters()),
        trained={t.name: forward_flop(t.arch, classes, side) for t in trained},
        students={s.name: forward_flop(s.arch, classes, side) for s in config.evaluate.students},
        train_images=_known_images(config),
    )


def _known_images(config: RunConfig) -> int | None:
    """Training images of data sets that need no files to be counted."""
    if config.data.use not in ("digits", "generated"):
        return None
    return len(open_source(config.data, Key((config.seed, "holdout"))).train)


def listing(what: str, folder: Path) -> str:
    """The points or the axes of the design space, a line each, from the cards of the components."""
    axes: dict[str, Any] = {
        "augmentations": {k: v.__doc__ for k, v in AUGMENTATIONS.items()},
        "discrepancies": {k: card("raydc.condense.discrepancy", k) for k in DISCREPANCIES},
        "initializers": {k: v.__doc__ for k, v in INITIALIZERS.items()},
        "codecs": {k: type(v).__doc__ for k, v in CODECS.items()},
        "networks": {k: v.__doc__ for k, v in SMALL.items()},
    }
    if what == "methods":
        return methods(folder)
    if what not in axes:
        known = ["methods", *axes]
        raise ConfigError(f"nothing is called '{what}'{nearest(what, known)}. Known: {', '.join(known)}")
    width = max(map(len, axes[what]))
    return "\n".join(f"{k:<{width}}  {first_line(v)}" for k, v in axes[what].items())


def card(package: str, name: str) -> str:
    """The card of a component: the docstring of its file."""
    from importlib import import_module

    return import_module(f"{package}.{name}").__doc__ or ""


def first_line(text: str | None) -> str:
    """The first line of a docstring."""
    return (text or "").strip().splitlines()[0]


def methods(folder: Path) -> str:
    """Every method file: its title, its published numbers, and how it differs from its parent."""
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise ConfigError(f"no method files in '{folder}'; give their folder with --folder")
    lines = []
    for file in files:
        tree = yaml.safe_load(file.read_text())
        about = tree.pop("method")
        lines.append(f"{about['name']}: {about.get('title', '')}  {about.get('paper', '')}")
        lines.append(f"  {about.get('note', '')}")
        parent = tree.pop("extends", None)
        if parent:
            base = yaml.safe_load((file.parent / parent).read_text())
            merged = {k: {**base.get(k, {}), **v} for k, v in tree.items()}
            changed = [d for k, v in merged.items() for d in differences(base.get(k, {}), v, k)]
            lines += [f"  differs from {Path(parent).stem} in", *(f"    {d}" for d in changed)]
    return "\n".join(lines)
