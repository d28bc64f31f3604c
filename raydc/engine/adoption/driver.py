"""The driver of a run that judges a set made by others: the stages are the same, but the product is not made."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

from raydc.engine import relabel
from raydc.engine.adoption import published, taking
from raydc.engine.driver import Driver
from raydc.engine.receipts import done
from raydc.engine.run import DATA, read_run
from raydc.engine.squeeze import made
from raydc.engine.synthesize import blocks_of, synthesize
from raydc.errors import ConfigError
from raydc.plan.blocks import Block
from raydc.store.folder import Folder


class Judge(Driver):
    """A run whose product is adopted."""

    @cached_property
    def adopted(self) -> list[Block]:
        """The units of the set."""
        return taking.look(self.run, self.classes, self.emit)

    @cached_property
    def blocks(self) -> dict[str, list[Block]]:
        """The units of the set, and blocks of the controls: as many images of each class.

        Beside an even set the controls are those of the config's own run, image by image and in the same order.
        """
        counts = Counter(label for block in self.adopted for label in block.classes)
        ipc = self.run.config.synthesize.ipc
        even = counts == dict.fromkeys(range(len(self.classes)), ipc)
        control = blocks_of(self.run, self.classes) if even else taking.uneven(counts)
        return {d: self.adopted if d == "condensed" else control for d in self.datasets}

    def _squeeze(self) -> str:
        self._check_counts()
        self._borrow()
        return super()._squeeze()

    def _borrow(self) -> None:
        """Take over the teachers of another run that makes them as this one would; what it lacks is made here."""
        url = self.run.config.adopt.teachers if self.run.config.adopt else None
        if url is None or not Folder(url).exists("run.yaml"):
            return
        try:
            other = read_run(url)
        except ConfigError:
            self.emit("note", text=f"{url} was made by another version of raydc: its teachers are not taken over")
            return
        alike = [
            (c.seed, c.data.model_dump(exclude={"titles", "train_images"}), c.squeeze.workers, c.engine.threads)
            for c in (self.run.config, other.config)
        ]
        known = {t.name: t for t in other.config.squeeze.teachers}
        _ = self.source  # whose fingerprint is now written down
        of_these_data = other.folder.exists(DATA) and other.folder.read_json(DATA) == self.run.folder.read_json(DATA)
        lacking = made(other) - made(self.run)
        for teacher in self.run.config.teachers:
            same = alike[0] == alike[1] and known.get(teacher.name) == teacher and of_these_data
            if same and teacher.name in lacking:
                for name in (f"{teacher.name}.safetensors", f"{teacher.name}.json"):  # the record last
                    self.run.teachers().write(name, other.teachers().read(name))
                self.emit("note", text=f"teacher '{teacher.name}' is that of {url}")

    def _synthesize(self) -> str:
        self._check_counts()
        own = {d: blocks for d, blocks in self.blocks.items() if d != "condensed"}
        total = sum(map(len, self.blocks.values()))
        already = sum(len(done(self.run.blocks(d)) & {b.id for b in bs}) for d, bs in self.blocks.items())
        self._start(total, already, "unit")
        taking.take(self.run, self.adopted, self.classes, self.emit)
        source = self.source_ref if self.images else []
        synthesize(self.run, own, source, lambda *args: None, self.emit)
        return ", ".join(f"{sum(map(len, bs))} {d}" for d, bs in self.blocks.items())

    def _pack_one(self, dataset: str, blocks: list[Block]) -> None:
        facts = self.run.folder.read_json(taking.FACTS)
        if dataset == "condensed" and "digest" not in facts:
            facts = {**facts, "digest": taking.digest(self.run, blocks)}
            self.run.folder.write_json(taking.FACTS, facts)
        if dataset == "condensed" and facts["dataset_id"]:
            published.publish(self.run, [b.id for b in blocks], self.classes)
        else:
            super()._pack_one(dataset, blocks)

    def _relabel(self) -> str:
        facts = self.run.folder.read_json(taking.FACTS)
        if not published.brings(facts, self.run.config):
            return super()._relabel()
        published.take_labels(self.run, self.emit)
        rest = [d for d in self.datasets if d != "condensed"]
        relabel.relabel(self.run, rest, self._start, self.emit)
        return relabel.summary(self.run, self.datasets)
