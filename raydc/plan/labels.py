"""What labels weigh: by the codec that is chosen and by the others, and every further label set."""

from __future__ import annotations

from collections.abc import Iterator

from raydc.config.axes.codec import Codec, Fp16, Int4, Int8, TopK
from raydc.config.stages.relabel import RelabelConfig
from raydc.plan.cost import RECORD_BYTES, Cost, row_bytes
from raydc.plan.item import Item


def label_bytes(relabel: RelabelConfig, cost: Cost, outputs: int) -> Iterator[Item]:
    """Bytes of what is chosen, and of the same views by other codecs."""
    chosen = relabel.codec
    others: list[Codec] = [
        Fp16(),
        Int8(use="int8"),
        Int4(use="int4"),
        TopK(use="top_k", k=min(TopK(use="top_k").k, outputs)),
    ]
    for codec in [chosen, *(other for other in others if other.use != chosen.use)]:
        row, kept = row_bytes(codec, outputs), f" {codec.k}" if isinstance(codec, TopK) else ""
        note = f"{row:,} bytes a label of {outputs:,} classes, {RECORD_BYTES} of them the view's record"
        name, mark = ("label_bytes", "CHOSEN; ") if codec is chosen else (f"label_bytes_{codec.use}", "")
        total = cost.images * relabel.views * row
        yield Item("relabel", name, f"labels as {codec.use}{kept}", total, "bytes", f"{mark}{note}")
    for also in relabel.also:
        total = cost.images * also.views * row_bytes(also.codec, outputs)
        yield Item("relabel", f"label_bytes_of_{also.name}", f"labels '{also.name}'", total, "bytes",
                   f"{also.views} views as {also.codec.use}")  # fmt: skip
