"""What can be said of a run without starting it: whether its networks exist, and what it will cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from raydc.condense.observer import layers
from raydc.config import RunConfig
from raydc.config.stages.squeeze import TeacherConfig
from raydc.errors import ConfigError, DataError
from raydc.keys import Key
from raydc.labels.codecs import codec_of
from raydc.plan.cost import Networks, cost
from raydc.plan.fleet import Fleet
from raydc.plan.forecast import Student, forecast
from raydc.plan.items import Plan, items
from raydc.plan.measured import Measured
from raydc.plan.measures import measures
from raydc.plan.passes import passes
from raydc.plan.statistics import Needed, needed
from raydc.sources import digits
from raydc.sources.base import open_source
from raydc.sources.classes import class_list, select
from raydc.students.protocol import student_jobs, trial_jobs
from raydc.teachers.flops import forward_flop
from raydc.teachers.networks import check, skeleton
from raydc.teachers.statistics import layout_of
from raydc.teachers.teacher import columns_of

MATCHED = {"bn_statistics": "bn", "conv_statistics": "conv"}
"""Terms on the inputs of layers, and the kind of these."""


def check_networks(config: RunConfig) -> None:
    """Refuse what can be known to be impossible without looking at images or weights, all of it at once.

    Raises:
        ConfigError: networks that no library has, that refuse their options or images of this size, subsets that
            cannot be.
        DataError: a class list that cannot be read, or a teacher's list that lacks classes of the data set.
    """
    known = config.data.classes is not None or config.data.use == "digits"
    classes = label_space(config) if known else ["0"] * len(config.data.subset or "01")
    mistakes = [*_networks(config, classes), *_unmatched(config, classes)]
    if known:
        mistakes += [*_picked(config, classes), *_codecs(config, classes)]
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
    sizes = set(config.synthesize.stages.sizes) if config.synthesize.stages else set()
    for teacher in pool_of(config):
        for size in sorted(sizes - {config.data.image_size}):
            try:
                check(teacher.arch, len(classes), size)
            except ConfigError as error:
                yield f"synthesize.stages.sizes has {size}: {error}"


def _unmatched(config: RunConfig, classes: Sequence[str]) -> Iterator[str]:
    """Terms on the inputs of layers that no teacher of the pool has."""
    wanted = {t.use: MATCHED[t.use] for t in config.synthesize.objective if t.use in MATCHED and t.weight}
    if not wanted or config.synthesize.steps == 0:
        return
    with suppress(ConfigError):  # told of by _networks
        side = config.data.image_size
        pool = {f"'{t.name}' ({t.arch.name})": layers(skeleton(t.arch, len(classes), side)) for t in pool_of(config)}
        for use, kind in wanted.items():
            if not any(layer.kind == kind for found in pool.values() for layer in found):
                names = ", ".join(pool)
                lacking = f"teacher {names} has none" if len(pool) == 1 else f"none of {names} has any"
                called = {"bn": "BatchNorm2d", "conv": "Conv2d"}[kind]
                yield f"synthesize.objective: {use} needs {called} layers, and {lacking}"


def pool_of(config: RunConfig) -> list[TeacherConfig]:
    """The teachers that guide the pixels."""
    by_name = {t.name: t for t in config.squeeze.teachers}
    return [by_name[name] for name in config.guides]


def _codecs(config: RunConfig, classes: Sequence[str]) -> Iterator[str]:
    """Label sets whose rows this label space does not fill."""
    for made in config.relabel.sets if config.relabel else []:
        try:
            codec_of(**made.codec.model_dump()).row_dtype(len(classes))
        except DataError as error:
            yield f"relabel: label set '{made.name}': {error}"


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
    networks = networks_of(config, len(classes), found.train_images if found else None)
    counted = cost(config, picked, len(classes), networks.step_flop, networks.label_flop, fleet)
    over = passes(config, picked, len(classes), networks)
    listed = items(config, counted, networks, over, len(classes), fleet)
    if found is None:
        return Plan(counted, listed)
    trained = [make(config.evaluate, config.label_sets) for make in (trial_jobs, student_jobs)]
    students = [Student(job.student.name, job.data, job.taught) for job in chain(*trained)]
    return Plan(counted, [*listed, *measures(found), *forecast(config, counted, students, found, networks, over)])


def networks_of(config: RunConfig, classes: int, train_images: int | None = None) -> Networks:
    """What the networks of a run take, counted on the meta device.

    Args:
        config: the run.
        classes: size of the label space.
        train_images: real training images, where somebody has counted them.
    """
    side = config.data.image_size
    pool = pool_of(config)
    built = {t.name: skeleton(t.arch, classes, side) for t in pool}
    flops = {t.name: forward_flop(t.arch, classes, side) for t in config.squeeze.teachers}
    labellers = config.relabel.teachers.pick(list(flops)) if config.relabel else []
    return Networks(
        pool=tuple(built),
        step_flop=_step_flop(config, [flops[name] for name in built]),
        label_flop=_sum([flops[name] for name in labellers]),
        norm_channels=sum(_norm_channels(network) for network in built.values()),
        weights=sum(p.numel() for network in built.values() for p in network.parameters()),
        forward=flops,
        students={s.name: forward_flop(s.arch, classes, side) for s in config.evaluate.students},
        train_images=_known_images(config) if train_images is None else train_images,
        statistics=_statistics_widths(config, classes),
        averages=_averages(config, classes, built),
    )


def _statistics_widths(config: RunConfig, classes: int) -> dict[str, int]:
    """Channels and tiles of the layers of every teacher that statistics are collected of."""
    wanted = needed(config)
    if wanted is None:
        return {}
    return {t.name: layout_of(t.arch, classes, config.data.image_size, wanted).width for t in pool_of(config)}


def _averages(config: RunConfig, classes: int, pool: dict[str, Any]) -> int:
    """Means and variances that averaging terms keep of the layers of their kind, under every teacher of the pool."""
    terms = [t for t in config.synthesize.objective if t.weight and getattr(t, "average", None)]
    if not terms or not config.synthesize.steps:
        return 0
    tile = max(getattr(t, "tile", 0) for t in terms)
    every = Needed(tuple(pool), bn=True, conv=True, tile=tile, classes=False, within=False)
    numbers = 0
    for teacher in pool_of(config):
        kinds = [layer.kind for layer in layers(pool[teacher.name])]
        found = layout_of(teacher.arch, classes, config.data.image_size, every)
        for place, segment in zip(found.positions, found.segments, strict=True):
            for term in terms:
                if MATCHED.get(term.use) == kinds[place]:
                    by = getattr(term, "by", ["channel"])
                    numbers += 2 * (("channel" in by) * segment.channels + ("tile" in by) * segment.tiles)
    return numbers


def _step_flop(config: RunConfig, forward: list[float | None]) -> float | None:
    """Operations of one step of one image: forward, and the gradient of the input, for weights are frozen."""
    synth, total = config.synthesize, _sum(forward)
    if total is None:
        return None
    looks = total if synth.teachers.sampling == "all" else total / len(forward)
    passes = 3 if any(t.use == "flatness" and t.weight for t in synth.objective) else 2
    sizes = synth.stages.sizes if synth.stages else [config.data.image_size]
    area = sum((size / config.data.image_size) ** 2 for size in sizes) / len(sizes)
    return passes * looks * area


def _sum(flops: Sequence[float | None]) -> float | None:
    known = [flop for flop in flops if flop is not None]
    return sum(known) if known and len(known) == len(flops) else None


def _norm_channels(network: Any) -> int:
    return sum(len(layer.running.mean) for layer in layers(network) if layer.kind == "bn")


def _known_images(config: RunConfig) -> int | None:
    """Training images, as far as they are known without looking at files."""
    if config.data.use not in ("digits", "generated"):
        return config.data.train_images if config.data.subset is None else None
    return len(open_source(config.data, Key((config.seed, "holdout"))).train)
